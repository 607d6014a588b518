"""The scheduler's record of one session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream2llm_engine.wire import Progress

if TYPE_CHECKING:
    from vllm.v1.request import Request

    from stream2llm_engine.arrival_model import EventHistory

__all__ = ["CoreSession", "extend_prompt", "replace_prompt"]


@dataclass(slots=True, kw_only=True, eq=False)
class CoreSession:
    """One session inside the scheduler.

    Attributes:
        request: vLLM's request, the owner of tokens and blocks.
        sequence: Last operation applied.
        prefilled_sequence: Last operation after which everything known was computed.
        history: What its events have shown.
        expected_final_s: When the prompt is expected to be complete, in seconds.
        settled_tokens: Leading tokens that the next event is expected to keep.
        refill: It is idle and lost KV, which may come back from free blocks.
        finalized: The prompt is complete.
        lookup_due: KV was taken since the last operation, so the prefix cache may know more than
            the request holds.
        high_water: Leading tokens of the current prompt that have been computed at least once.
        step_start_tokens: Tokens that were computed when the session's latest step began.
        step_end_s: When that step's results came in, on the clock of the operations.
    """

    request: Request
    sequence: int
    history: EventHistory
    expected_final_s: float = 0.0
    settled_tokens: int = 1 << 60
    refill: bool = False
    prefilled_sequence: int = 0
    finalized: bool = False
    lookup_due: bool = False
    high_water: int = 0
    step_start_tokens: int = 0
    step_end_s: float = 0.0
    prefilled_before_final: int = 0
    reused_tokens: int = 0
    invalidated_tokens: int = 0
    recomputed_tokens: int = 0
    preemptions: int = 0
    swaps: int = 0

    def count_step(self, start: int, end: int, reused: int) -> int:
        """Count a step that computed tokens ``[start, end)`` after reusing ``reused`` cached ones.

        Returns:
            How many of them had been computed before.
        """
        self.step_start_tokens = start
        again = max(0, min(end, self.high_water) - start)
        self.recomputed_tokens += again
        self.reused_tokens += reused
        self.high_water = max(self.high_water, end)
        return again

    def progress(self, error: str | None = None) -> Progress:
        """Return what the facade should know now."""
        return Progress(
            session_id=self.request.request_id,
            prefilled_sequence=self.prefilled_sequence,
            computed_tokens=self.request.num_computed_tokens,
            prefilled_before_final=self.prefilled_before_final,
            reused_tokens=self.reused_tokens,
            invalidated_tokens=self.invalidated_tokens,
            recomputed_tokens=self.recomputed_tokens,
            preemptions=self.preemptions,
            swaps=self.swaps,
            error=error,
        )


def extend_prompt(request: Request, token_ids: list[int]) -> None:
    """Append tokens to the prompt and hash the blocks they fill."""
    request._all_token_ids.extend(token_ids)
    _publish_prompt(request)


def replace_prompt(
    request: Request, token_ids: list[int], common: int, hash_block_size: int
) -> None:
    """Replace the prompt behind its first ``common`` tokens and rehash from there."""
    request._all_token_ids[common:] = token_ids[common:]
    del request.block_hashes[common // hash_block_size :]
    _publish_prompt(request)


def _publish_prompt(request: Request) -> None:
    # A new list: the model runner of an in-process engine still holds the previous one.
    request.prompt_token_ids = list(request._all_token_ids)
    request.num_prompt_tokens = len(request.prompt_token_ids)
    request.update_block_hashes()
