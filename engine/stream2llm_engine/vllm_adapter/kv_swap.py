"""KV that left the device for host memory and comes back: the scheduler's side.

Ownership: a request owns its device blocks and its host copy. While a copy runs back, the *restore*
owns both the host blocks and the new device blocks; they are the request's again when the worker
reports that the copy is complete. So a request may be updated, finalized or aborted at any time,
and no block is reused while a copy reads or writes it.

Copies to host memory are queued by the plan of a step and made before anything of that step is
computed, so the blocks can be reused at once. Copies back run beside the steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from stream2llm_engine.swap_space import HostCopy, SwapSpace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.v1.core.kv_cache_utils import KVCacheBlock
    from vllm.v1.request import Request

    from stream2llm_engine.vllm_adapter.kv import KvPool

__all__ = ["CopyBack", "KvSwap", "Restored", "StepCopies"]


@dataclass(frozen=True, slots=True)
class CopyBack:
    """Host blocks to copy to device blocks, pairwise."""

    restore_id: int
    host_ids: list[int]
    device_ids: list[int]


@dataclass(slots=True)
class StepCopies:
    """The copies of one step, in the order in which they have to be made.

    Attributes:
        out: Pairs of device block and host block.
        back: What to copy back.
    """

    out: list[tuple[int, int]] = field(default_factory=list)
    back: list[CopyBack] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.out or self.back)


class Restored(NamedTuple):
    """The end of a restore."""

    request: Request
    complete: bool


@dataclass(slots=True)
class _Restore:
    request: Request
    copy: HostCopy
    blocks: list[KVCacheBlock]
    cancelled: bool = False


class KvSwap:
    """Host copies of one scheduler's requests.

    Args:
        kv: The device's pool; its tables can be cut.
        host_blocks: Blocks that host memory may hold.
        block_bytes: Bytes of one block over all layers and workers.
    """

    def __init__(self, kv: KvPool, *, host_blocks: int, block_bytes: int) -> None:
        self._kv = kv
        self.space = SwapSpace(host_blocks)
        self.block_bytes = block_bytes
        self._copies: dict[str, HostCopy] = {}
        self._restores: dict[int, _Restore] = {}
        self._restoring: dict[str, int] = {}
        self._ids = count(1)
        self._due = StepCopies()

    # -- what is where ---------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a copy back is queued or running, so that steps have to go on."""
        return bool(self._restores)

    def is_restoring(self, request_id: str) -> bool:
        """Return whether KV of the request is on its way back."""
        return request_id in self._restoring

    def is_away(self, request_id: str) -> bool:
        """Return whether KV of the request is in host memory or on its way back."""
        return request_id in self._copies or request_id in self._restoring

    def tokens_away(self, request: Request) -> int:
        """Return the computed tokens behind the device's that host memory holds."""
        copy = self._copy(request.request_id)
        return copy.valid_tokens - request.num_computed_tokens if copy else 0

    def restore_blocks(self, request_id: str) -> int:
        """Return the device blocks that the request needs to get its KV back; 0 for none."""
        copy = self._copies.get(request_id)
        return len(copy.host_ids) if copy else 0

    def device_blocks(self) -> Iterator[KVCacheBlock]:
        """Yield the device blocks that restores own."""
        for restore in self._restores.values():
            yield from restore.blocks

    def host_blocks_in_use(self) -> int:
        """Return the host blocks that copies and restores own."""
        copies = [*self._copies.values(), *(r.copy for r in self._restores.values())]
        return sum(len(copy.host_ids) for copy in copies)

    # -- out -------------------------------------------------------------------------------------

    def swap_out(self, request: Request, blocks: int) -> int | None:
        """Give up the last ``blocks`` device blocks and keep their content in host memory.

        Returns:
            How many blocks became free, or ``None`` if host memory is full; then nothing changed.
        """
        held = self._kv.held_by.get(request.request_id, [])
        first = max(0, len(held) - blocks)
        host_ids = self.space.reserve(len(held) - first)
        if host_ids is None:
            return None
        away = self._copies.pop(request.request_id, None)
        valid = away.valid_tokens if away else request.num_computed_tokens
        tail = [block.block_id for block in held[first:]]
        self._due.out += zip(tail, host_ids, strict=True)
        self._copies[request.request_id] = HostCopy(
            first, host_ids + (away.host_ids if away else []), valid
        )
        freed = self._kv.drop_tail(request, blocks)
        request.num_computed_tokens = min(request.num_computed_tokens, first * self._kv.block_size)
        return freed

    def drop_unwritten(self, host_ids: set[int]) -> list[str]:
        """Drop the copies that use host blocks which were never written.

        A copy that is on its way back already fails in the worker.

        Returns:
            The ids of the requests that lost KV by it.
        """
        lost = [i for i, c in self._copies.items() if not host_ids.isdisjoint(c.host_ids)]
        for request_id in lost:
            self.forget(request_id)
        return lost

    # -- back ------------------------------------------------------------------------------------

    def start_restore(self, request: Request) -> None:
        """Take device blocks for the request's host copy and queue the copy back."""
        copy = self._copies.pop(request.request_id)
        restore_id = next(self._ids)
        blocks = self._kv.take_blocks(len(copy.host_ids))
        self._restores[restore_id] = _Restore(request, copy, blocks)
        self._restoring[request.request_id] = restore_id
        self._due.back.append(
            CopyBack(restore_id, list(copy.host_ids), [block.block_id for block in blocks])
        )

    def finish_restore(self, restore_id: int, *, succeeded: bool) -> Restored | None:
        """Give the request what was copied back, or nothing if the copy failed.

        Returns:
            Who it was for and whether it has its KV back; ``None`` if the restore was cancelled.
        """
        restore = self._restores.pop(restore_id, None)
        if restore is None:
            return None
        copy = restore.copy
        self.space.release(copy.host_ids)
        if restore.cancelled:
            self._kv.give_back(restore.blocks)
            return None
        request = restore.request
        del self._restoring[request.request_id]
        if not succeeded:
            self._kv.give_back(restore.blocks)
            return Restored(request, complete=False)
        keep = -(-copy.valid_tokens // self._kv.block_size) - copy.first_block
        self._kv.give_back(restore.blocks[keep:])
        self._kv.attach(request, restore.blocks[:keep], copy.valid_tokens)
        return Restored(request, complete=True)

    # -- changes to the prompt -------------------------------------------------------------------

    def truncate(self, request: Request, valid_tokens: int) -> None:
        """Keep no more than the first ``valid_tokens`` tokens of what host memory holds."""
        request_id = request.request_id
        copy = self._copy(request_id)
        if copy is None or valid_tokens >= copy.valid_tokens:
            return
        if valid_tokens <= copy.first_block * self._kv.block_size:
            self.forget(request_id)
            return
        copy.valid_tokens = valid_tokens
        if request_id in self._copies:
            keep = -(-valid_tokens // self._kv.block_size) - copy.first_block
            self.space.release(copy.host_ids[keep:])
            del copy.host_ids[keep:]

    def forget(self, request_id: str) -> None:
        """Drop what host memory holds of a request; a running copy is left to end by itself."""
        copy = self._copies.pop(request_id, None)
        if copy is not None:
            self.space.release(copy.host_ids)
        restore_id = self._restoring.pop(request_id, None)
        if restore_id is not None:
            self._restores[restore_id].cancelled = True

    def forget_all(self) -> None:
        """Drop everything, for instance because the weights changed."""
        for request_id in [*self._copies, *self._restoring]:
            self.forget(request_id)

    def take_copies(self) -> StepCopies:
        """Return the copies of this step and forget them."""
        due, self._due = self._due, StepCopies()
        return due

    def _copy(self, request_id: str) -> HostCopy | None:
        copy = self._copies.get(request_id)
        if copy is None and (restore_id := self._restoring.get(request_id)) is not None:
            copy = self._restores[restore_id].copy
        return copy
