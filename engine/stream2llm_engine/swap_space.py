"""Host memory for KV blocks that were evicted; bookkeeping only, free of vLLM."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HostCopy", "SwapSpace"]


@dataclass(slots=True)
class HostCopy:
    """The part of a request's KV that is in host memory.

    Attributes:
        first_block: Index, in the request's block table, of the first block that was copied. What
            is before it is on the device.
        host_ids: Host blocks, in order.
        valid_tokens: Leading tokens of the prompt that device and host hold together.
    """

    first_block: int
    host_ids: list[int]
    valid_tokens: int


class SwapSpace:
    """A bounded pool of host blocks that hands out neighbours where it can.

    Neighbouring blocks are copied at once, so a request gets the shortest run of free blocks that
    is long enough, else the longest ones there are.

    Args:
        blocks: How many blocks there are.
    """

    def __init__(self, blocks: int) -> None:
        self.total_blocks = blocks
        self._free = 0
        # Lengths of the runs of free blocks by their first block, and first blocks by their end.
        self._lengths: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self._add_run(0, blocks)

    @property
    def free_blocks(self) -> int:
        """Host blocks that nobody uses."""
        return self._free

    def reserve(self, count: int) -> list[int] | None:
        """Return that many host blocks in ascending order, or ``None`` if there are too few."""
        if count > self._free:
            return None
        taken: list[int] = []
        for start in self._runs_for(count):
            length = self._lengths[start]
            cut = min(count - len(taken), length)
            if not cut:
                break
            self._remove_run(start)
            self._add_run(start + cut, length - cut)
            taken.extend(range(start, start + cut))
        return sorted(taken)

    def release(self, host_ids: list[int]) -> None:
        """Take blocks back."""
        run: list[int] = []
        for block in sorted(host_ids):
            if run and block != run[-1] + 1:
                self._join(run[0], len(run))
                run = []
            run.append(block)
        if run:
            self._join(run[0], len(run))

    def _runs_for(self, count: int) -> list[int]:
        """Return the first blocks of the runs to take that many blocks from, in turn."""
        fits = min(((n, start) for start, n in self._lengths.items() if n >= count), default=None)
        if fits is not None:
            return [fits[1]]
        return sorted(self._lengths, key=lambda start: (-self._lengths[start], start))

    def _join(self, start: int, length: int) -> None:
        """Add a run, together with those that it touches."""
        before = self._starts.get(start)
        if before is not None:
            length += self._remove_run(before)
            start = before
        if start + length in self._lengths:
            length += self._remove_run(start + length)
        self._add_run(start, length)

    def _add_run(self, start: int, length: int) -> None:
        if length:
            self._free += length
            self._lengths[start] = length
            self._starts[start + length] = start

    def _remove_run(self, start: int) -> int:
        length = self._lengths.pop(start)
        del self._starts[start + length]
        self._free -= length
        return length
