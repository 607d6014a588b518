"""What sessions and engines report: output deltas and counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self

__all__ = ["EngineStats", "SessionState", "SessionStats", "StreamOutput", "TenantStats"]

SessionState = Literal["open", "finalized", "finished", "aborted", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOutput:
    """One delta of an answer, shaped like vLLM's ``CompletionOutput``.

    Attributes:
        index: Which of the ``n`` answers this delta belongs to.
        text: Text added since the previous delta.
        token_ids: Token ids added since the previous delta.
        logprobs: One ``{token_id: Logprob}`` per added token, or ``None`` if not asked for.
        cumulative_logprob: Sum of the log-probabilities so far, or ``None`` if not asked for.
        finish_reason: ``"stop"``, ``"length"``, ``"abort"`` … on the last delta, else ``None``.
        stop_reason: The stop string or stop token id that ended the answer, if one did.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: list[dict[int, Any]] | None = None
    cumulative_logprob: float | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStats:
    """Counters of one session, all in tokens unless named otherwise.

    Attributes:
        prompt_tokens: Length of the prompt so far.
        prefilled_before_final: Prompt tokens whose KV was in place when the final context was sent.
        reused_tokens: Tokens taken from the prefix cache instead of being computed.
        invalidated_tokens: Computed tokens an update threw away (past the longest common prefix).
        recomputed_tokens: Tokens computed again because their KV had been evicted.
        preemptions: How often KV of this session was evicted for another request.
        swaps: How many of those evictions copied the KV to host memory.
        output_tokens: Tokens of the answer so far.
        ttft_s: Seconds from ``finalize`` to the first output token, or ``None`` before it.
        time_to_first_token_s: Seconds from ``open_session`` to the first output token.
    """

    prompt_tokens: int = 0
    prefilled_before_final: int = 0
    reused_tokens: int = 0
    invalidated_tokens: int = 0
    recomputed_tokens: int = 0
    preemptions: int = 0
    swaps: int = 0
    output_tokens: int = 0
    ttft_s: float | None = None
    time_to_first_token_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantStats:
    """What one tenant has and has had of the engine.

    Attributes:
        open_sessions: Sessions that are not final yet.
        prefill_tokens: Prompt tokens computed since the start, recomputed ones included.
        decode_tokens: Tokens of answers computed since the start.
        served: Service by weight, lifted over idle times; the smallest of those that have
            something to compute goes next.
    """

    open_sessions: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    served: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """A snapshot of the engine between two steps.

    Attributes:
        free_blocks: KV blocks that can be allocated now (cached prefixes in them included).
        total_blocks: KV blocks of the pool.
        block_size: Tokens per KV block.
        open_sessions: Sessions that are not final yet.
        parked: Open sessions with nothing left to compute.
        running: Requests that the last step computed and that go on.
        waiting: Requests that wait for tokens or blocks of the next step.
        tokens: Tokens by kind since the start: ``computed``, ``reused``, ``invalidated``,
            ``recomputed``.
        preemptions: Evictions by kind: ``recompute``, ``swap``; ``builtin`` counts vLLM's own,
            which the planner exists to prevent.
        idle_preemptions: Those of them that interrupted nobody: sessions with nothing to compute.
        evicted_blocks: KV blocks taken from one request for another.
        steps: Steps since the start that computed something.
        tenants: Figures by tenant, for those that had a request since the start.
    """

    free_blocks: int
    total_blocks: int
    block_size: int
    open_sessions: int
    parked: int
    running: int
    waiting: int
    tokens: dict[str, int] = field(default_factory=dict)
    preemptions: dict[str, int] = field(default_factory=dict)
    idle_preemptions: int = 0
    evicted_blocks: int = 0
    steps: int = 0
    tenants: dict[str, TenantStats] = field(default_factory=dict)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Return the snapshot that ``dataclasses.asdict`` made ``values`` of."""
        tenants = {name: TenantStats(**figures) for name, figures in values["tenants"].items()}
        return cls(**{**values, "tenants": tenants})
