"""Questions that the facade asks the scheduler, answered with plain values between two steps."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stream2llm_engine.vllm_adapter.integrity import find_violations
from stream2llm_engine.wire import OperationKind

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["answer", "merged"]


def answer(scheduler: Any, question: OperationKind) -> Any:
    """Return what ``question`` asks of a ``StreamScheduler``."""
    match question:
        case OperationKind.ASK_STATS:
            return asdict(scheduler.stream_stats())
        case OperationKind.ASK_VIOLATIONS:
            return find_violations(scheduler)
        case OperationKind.ASK_LIMITS:
            return {
                "max_model_len": scheduler.max_model_len,
                "has_mamba_layers": scheduler.has_mamba_layers,
            }
        case _:
            msg = f"{question!r} is not a question"
            raise ValueError(msg)


def merged(question: OperationKind, answers: Sequence[Any]) -> Any:
    """Return one answer for the answers of all data-parallel ranks."""
    first, *others = answers
    if not others:
        return first
    match question:
        case OperationKind.ASK_STATS:
            total = {name: _added([a[name] for a in answers]) for name in first}
            return {**total, "block_size": first["block_size"]}
        case OperationKind.ASK_VIOLATIONS:
            return [violation for violations in answers for violation in violations]
        case _:
            return {
                "max_model_len": min(a["max_model_len"] for a in answers),
                "has_mamba_layers": any(a["has_mamba_layers"] for a in answers),
            }


def _added(values: list[Any]) -> Any:
    if not isinstance(values[0], dict):
        return sum(values)
    names = dict.fromkeys(name for value in values for name in value)
    return {name: _added([value[name] for value in values if name in value]) for name in names}
