"""Views on, and changes to, the KV blocks that vLLM's managers hold for a request.

Ownership: blocks belong to vLLM's block pool; a request holds references in each manager's
``req_to_blocks``. The functions here drop references, always tail first, and keep
``num_computed_tokens`` in step. A block that carries a hash is never written again: the block at a
cut is dropped, not refilled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.v1.core.kv_cache_manager import KVCacheBlocks, KVCacheManager
    from vllm.v1.core.kv_cache_utils import KVCacheBlock
    from vllm.v1.request import Request

__all__ = ["KvPool"]


class KvPool:
    """The KV pool of one scheduler.

    Args:
        manager: vLLM's KV cache manager.
        lookahead_tokens: Slots vLLM reserves past the tokens of a step (speculative decoding).
        max_model_len: Longest sequence in tokens.
    """

    def __init__(
        self, manager: KVCacheManager, *, lookahead_tokens: int, max_model_len: int
    ) -> None:
        self._manager = manager
        self._coordinator = manager.coordinator
        self._pool = manager.block_pool
        self._groups: tuple[Any, ...] = tuple(manager.coordinator.single_type_managers)
        self.lookahead_tokens = lookahead_tokens
        self.max_model_len = max_model_len
        # Sliding-window groups replace old blocks by null blocks, so a shortened table would not
        # describe the same sequence any more.
        self.can_truncate = len(self._groups) == 1 and type(self._groups[0]) is FullAttentionManager
        self.block_size: int = max(group.block_size for group in self._groups)
        self.held_by: dict[str, list[KVCacheBlock]] = self._groups[0].req_to_blocks

    @property
    def total_blocks(self) -> int:
        """Blocks that requests can hold; vLLM keeps one null block for itself."""
        return int(self._pool.num_gpu_blocks) - 1

    @property
    def free_blocks(self) -> int:
        """Blocks that can be allocated now."""
        return int(self._pool.get_num_free_blocks())

    @property
    def capacity_tokens(self) -> int:
        """Tokens of the longest sequence the pool can hold on its own."""
        return self.total_blocks // len(self._groups) * self.block_size

    def held(self, request_id: str) -> Iterator[KVCacheBlock]:
        """Yield the blocks the request holds, null blocks left out."""
        for group in self._groups:
            for block in group.req_to_blocks.get(request_id, ()):
                if not block.is_null:
                    yield block

    def tail_blocks(self, request_id: str) -> Iterator[tuple[int, int]]:
        """Yield ``(block id, holders)`` of what the request holds, tail first, less null blocks."""
        for group in self._groups:
            for block in reversed(group.req_to_blocks.get(request_id, ())):
                if not block.is_null:
                    yield block.block_id, block.ref_cnt

    def holders(self) -> Iterator[str]:
        """Yield the ids of the requests that hold blocks."""
        for request_id, blocks in self._groups[0].req_to_blocks.items():
            if blocks:
                yield request_id

    def blocks_needed(
        self, request: Request, tokens: int, computed: int, hit: KVCacheBlocks | None
    ) -> int:
        """Return how many blocks leave the free list if ``tokens`` more are computed.

        Args:
            request: The request.
            tokens: Tokens to compute.
            computed: Tokens whose KV is in place, prefix-cache hit included.
            hit: The prefix-cache hit of a request that holds nothing yet.
        """
        after = computed + tokens
        if hit is None and self.can_truncate:
            # What vLLM would count, without its bookkeeping: this is asked for every candidate.
            last = min(after + self.lookahead_tokens, self.max_model_len)
            held = len(self.held_by.get(request.request_id, ()))
            return max(0, -(-last // self.block_size) - held)
        blocks = self._manager.empty_kv_cache_blocks if hit is None else hit
        return int(
            self._coordinator.get_num_blocks_to_allocate(
                request_id=request.request_id,
                num_tokens=min(after + self.lookahead_tokens, self.max_model_len),
                new_computed_blocks=blocks.blocks,
                num_encoder_tokens=0,
                total_computed_tokens=computed,
                num_local_computed_tokens=computed,
                num_tokens_main_model=after,
                prefill_end=max(request.num_prompt_tokens, request.num_tokens - 1),
            )
        )

    def truncate(self, request: Request, valid_tokens: int) -> None:
        """Keep the KV of the first ``valid_tokens`` tokens, down to a block edge."""
        if valid_tokens >= request.num_computed_tokens:
            return
        keep = valid_tokens // self.block_size * self.block_size if self.can_truncate else 0
        if keep == 0:
            self.release(request)
            return
        for group in self._groups:
            self._cut(group, request, keep // group.block_size)
        request.num_computed_tokens = keep

    def drop_tail(self, request: Request, blocks: int) -> int:
        """Give up the last ``blocks`` blocks, or all where a table cannot be cut.

        Returns:
            How many blocks became free; blocks shared with another request do not.
        """
        before = self.free_blocks
        keep = len(self.held_by.get(request.request_id, ())) - blocks
        if keep <= 0 or not self.can_truncate:
            self.release(request)
        else:
            self._cut(self._groups[0], request, keep)
            request.num_computed_tokens = min(request.num_computed_tokens, keep * self.block_size)
        return self.free_blocks - before

    def take_blocks(self, count: int) -> list[KVCacheBlock]:
        """Take free blocks for somebody who is no request; :meth:`give_back` or attach them."""
        blocks: list[KVCacheBlock] = self._pool.get_new_blocks(count)
        return blocks

    def give_back(self, blocks: list[KVCacheBlock]) -> None:
        """Free blocks that were taken, or keep nothing of them."""
        self._pool.free_blocks(reversed(blocks))

    def attach(self, request: Request, blocks: list[KVCacheBlock], computed_tokens: int) -> None:
        """Append taken blocks to a request's table; they hold its KV to ``computed_tokens``."""
        (group,) = self._groups
        group.req_to_blocks[request.request_id].extend(blocks)
        group.num_cached_block.setdefault(request.request_id, 0)
        request.num_computed_tokens = computed_tokens

    def release(self, request: Request) -> None:
        """Give up every block; the prefix cache may give them back later."""
        self._manager.free(request)
        request.num_computed_tokens = 0

    def _cut(self, group: Any, request: Request, keep_blocks: int) -> None:
        held = group.req_to_blocks[request.request_id]
        tail = held[keep_blocks:]
        del held[keep_blocks:]
        cached = group.num_cached_block
        if request.request_id in cached:
            cached[request.request_id] = min(cached[request.request_id], keep_blocks)
        # Reversed, so that the pool reuses the tail first.
        self._pool.free_blocks(reversed(tail))
