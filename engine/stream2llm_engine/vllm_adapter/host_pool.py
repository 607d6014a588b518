"""KV blocks in host memory, allocated when they are first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["HostPool"]


class HostPool:
    """A bounded pool of host blocks that grows by segments.

    Args:
        row_bytes: Bytes of a block in each cache.
        blocks: Most blocks the pool can hold.
        pinned: Whether the memory is page-locked, so that a GPU can copy without waiting.
    """

    SEGMENT_BLOCKS = 64

    def __init__(self, row_bytes: Sequence[int], blocks: int, *, pinned: bool) -> None:
        self._row_bytes = tuple(row_bytes)
        self._pinned = pinned
        self._segments: dict[int, list[torch.Tensor]] = {}
        self.blocks = blocks
        self.allocated_bytes = 0

    def reserve(self, host_ids: Iterable[int]) -> None:
        """Allocate what holds these blocks and is not there yet.

        Raises:
            MemoryError: There is none left; what was there stays as it is.
        """
        for segment in sorted({block // self.SEGMENT_BLOCKS for block in host_ids}):
            if segment not in self._segments:
                self._segments[segment] = self._allocate(segment)

    def segment(self, number: int) -> list[torch.Tensor]:
        """Return the rows of a segment, a matrix for each cache.

        Raises:
            LookupError: Nothing was ever copied there.
        """
        try:
            return self._segments[number]
        except KeyError:
            first = number * self.SEGMENT_BLOCKS
            msg = f"host blocks from {first} on hold nothing: copy blocks out before copying in"
            raise LookupError(msg) from None

    def clear(self) -> None:
        """Give all memory back."""
        self._segments.clear()
        self.allocated_bytes = 0

    def _allocate(self, segment: int) -> list[torch.Tensor]:
        rows = min(self.SEGMENT_BLOCKS, self.blocks - segment * self.SEGMENT_BLOCKS)
        sizes = [rows * row for row in self._row_bytes]
        # One allocation for all caches: it succeeds or fails as a whole.
        memory = self._memory(sum(sizes))
        self.allocated_bytes += sum(sizes)
        return [part.view(rows, -1) for part in memory.split(sizes)]

    def _memory(self, size: int) -> torch.Tensor:
        if not self._pinned:
            # NumPy asks for huge pages, which are faster to get and to copy.
            return torch.from_numpy(np.empty(size, dtype=np.uint8))
        try:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        except RuntimeError as error:
            msg = f"no {size} bytes of host memory could be page-locked: {error}"
            raise MemoryError(msg) from error
