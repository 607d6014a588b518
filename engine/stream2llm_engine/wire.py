"""The wire form of a session operation.

An operation is an ordinary vLLM engine-core request whose id is the session's and whose
``SamplingParams.extra_args`` carries one ``stream2llm`` entry, so it travels through vLLM's own
client, in-process or multi-process, without a change to vLLM. The entry carries the engine's
secret, so that a client of a public API server cannot smuggle one in through ``extra_args``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["OPERATION_KEY", "Operation", "OperationKind", "Progress"]

OPERATION_KEY = "stream2llm"


class OperationKind(StrEnum):
    """What an operation does to its session's prompt."""

    OPEN = "open"
    APPEND = "append"
    UPDATE = "update"
    FINALIZE = "finalize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation on a session.

    Attributes:
        kind: What to do with the request's tokens.
        sequence: Position of the operation in its session, from 1.
        secret: Proof that the operation comes from the engine's own facade.
        empty: The operation brings no token; the request holds a placeholder that is ignored.
    """

    kind: OperationKind
    sequence: int
    secret: str
    empty: bool = False

    def encode(self) -> dict[str, Any]:
        """Return the ``extra_args`` entry."""
        return {
            OPERATION_KEY: {
                "kind": str(self.kind),
                "sequence": self.sequence,
                "secret": self.secret,
                "empty": self.empty,
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
        error: Why the scheduler had to fail the session, or ``None``.
    """

    session_id: str
    prefilled_sequence: int
    computed_tokens: int
    prefilled_before_final: int
    reused_tokens: int
    invalidated_tokens: int
    recomputed_tokens: int
    preemptions: int
    error: str | None = None
