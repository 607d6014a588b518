"""The planner's view of one scheduler step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.v1.request import Request

__all__ = ["StepLedger"]


class StepLedger:
    """Answers the planner's questions for one step; prefix-cache look-ups are made once.

    Args:
        scheduler: The scheduler, between two steps.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._kv = scheduler._kv
        self._hits: dict[str, tuple[Any, int]] = {}

    def wanted_tokens(self, request_id: str) -> int:
        """Return how many tokens the request could compute now; 0 for a parked session."""
        scheduler = self._scheduler
        if request_id in scheduler._parked:
            return 0
        request = scheduler.requests[request_id]
        remaining = scheduler._remaining(request, scheduler._sessions.get(request_id))
        return int(remaining - self._hit(request)[1])

    def blocks_needed(self, request_id: str, tokens: int) -> int:
        """Return the blocks that leave the free list if the request computes ``tokens`` more."""
        request = self._scheduler.requests[request_id]
        blocks, reused = self._hit(request)
        return int(
            self._kv.blocks_needed(request, tokens, request.num_computed_tokens + reused, blocks)
        )

    def held_blocks(self, request_id: str) -> Iterator[int]:
        """Yield the ids of the blocks the request holds or would share with their holders."""
        for block in self._kv.held(request_id):
            yield block.block_id
        # Only a request that was asked about can be granted its hit in this step.
        blocks, _ = self._hits.get(request_id, (None, 0))
        if blocks is not None:
            for group in blocks.blocks:
                yield from (b.block_id for b in group if b.ref_cnt > 0 and not b.is_null)

    def free_blocks(self) -> int:
        """Return how many blocks can be allocated without evicting anybody."""
        return int(self._kv.free_blocks)

    def total_blocks(self) -> int:
        """Return the size of the pool."""
        return int(self._kv.total_blocks)

    def _hit(self, request: Request) -> tuple[Any, int]:
        if request.num_computed_tokens:
            return None, 0
        hit = self._hits.get(request.request_id)
        if hit is None:
            blocks, tokens, _, _ = self._scheduler._get_local_prefix_cache_hit(request)
            hit = self._hits[request.request_id] = (blocks, tokens)
        return hit
