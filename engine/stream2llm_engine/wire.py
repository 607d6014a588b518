"""The wire form of a session operation.

An operation is an ordinary vLLM engine-core request whose id is the session's and whose
``SamplingParams.extra_args`` carries one ``stream2llm`` entry, so it travels through vLLM's own
client, in-process or multi-process, without a change to vLLM. The entry carries the engine's
secret, so that a client of a public API server cannot smuggle one in through ``extra_args``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["OPERATION_KEY", "QUESTIONS", "Operation", "OperationKind", "Progress", "Report"]

OPERATION_KEY = "stream2llm"


class OperationKind(StrEnum):
    """What an operation does to its session's prompt, or what it asks the scheduler."""

    OPEN = "open"
    APPEND = "append"
    UPDATE = "update"
    FINALIZE = "finalize"
    GENERATE = "generate"
    ASK_LIMITS = "ask_limits"
    ASK_STATS = "ask_stats"
    ASK_VIOLATIONS = "ask_violations"


QUESTIONS = frozenset(
    {OperationKind.ASK_LIMITS, OperationKind.ASK_STATS, OperationKind.ASK_VIOLATIONS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation on a session, or a question.

    Attributes:
        kind: What to do with the request's tokens.
        sequence: Position of the operation in its session, from 1.
        secret: Proof that the operation comes from the engine's own facade.
        empty: The operation brings no token; the request holds a placeholder that is ignored.
        tenant: Whom the session or request belongs to; read when it is opened.
        priority: Which sessions go first, the smallest; read when it is opened.
    """

    kind: OperationKind
    sequence: int
    secret: str
    empty: bool = False
    tenant: str = "default"
    priority: int = 0

    def encode(self) -> dict[str, Any]:
        """Return the ``extra_args`` entry."""
        return {
            OPERATION_KEY: {
                "kind": str(self.kind),
                "sequence": self.sequence,
                "secret": self.secret,
                "empty": self.empty,
                "tenant": self.tenant,
                "priority": self.priority,
            }
        }

    @staticmethod
    def decode(extra_args: object, secret: str | None) -> Operation | None:
        """Return the operation in ``extra_args``, or ``None`` if there is no authentic one.

        Args:
            extra_args: ``SamplingParams.extra_args`` as it came.
            secret: The engine's secret; ``None`` accepts no operation at all.
        """
        entry = extra_args.get(OPERATION_KEY) if isinstance(extra_args, dict) else None
        if not isinstance(entry, dict) or secret is None or entry.get("secret") != secret:
            return None
        try:
            return Operation(
                kind=OperationKind(entry["kind"]),
                sequence=int(entry["sequence"]),
                secret=secret,
                empty=bool(entry["empty"]),
                tenant=str(entry["tenant"]),
                priority=int(entry["priority"]),
            )
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the scheduler tells the facade about one session after a step.

    Attributes:
        session_id: The session.
        prefilled_sequence: Last operation after which everything sent was computed, 0 for none.
        computed_tokens: Prompt tokens whose KV is in place.
        prefilled_before_final: See ``SessionStats``.
        reused_tokens: See ``SessionStats``.
        invalidated_tokens: See ``SessionStats``.
        recomputed_tokens: See ``SessionStats``.
        preemptions: See ``SessionStats``.
        swaps: See ``SessionStats``.
        error: Why the scheduler had to fail the session, or ``None``.
    """

    session_id: str
    prefilled_sequence: int = 0
    computed_tokens: int = 0
    prefilled_before_final: int = 0
    reused_tokens: int = 0
    invalidated_tokens: int = 0
    recomputed_tokens: int = 0
    preemptions: int = 0
    swaps: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a scheduler in another process sends back after a step.

    Attributes:
        progress: What changed for sessions.
        answers: Answers, by the id of the request that asked.
    """

    progress: list[Progress] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            OPERATION_KEY: {"progress": [asdict(p) for p in self.progress], "answers": self.answers}
        }

    @staticmethod
    def decode(payload: dict[str, Any]) -> Report:
        """Return the report that :meth:`encode` made."""
        entry = payload[OPERATION_KEY]
        return Report(
            progress=[Progress(**values) for values in entry["progress"]], answers=entry["answers"]
        )
