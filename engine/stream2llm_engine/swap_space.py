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
    """A bounded pool of host blocks.

    Args:
        blocks: How many blocks there are.
    """

    def __init__(self, blocks: int) -> None:
        self.total_blocks = blocks
        self._free = list(range(blocks - 1, -1, -1))

    @property
    def free_blocks(self) -> int:
        """Host blocks that nobody uses."""
        return len(self._free)

    def reserve(self, count: int) -> list[int] | None:
        """Return that many host blocks in ascending order, or ``None`` if there are too few.

        Neighbouring blocks are copied at once, and ascending ids are neighbours most often.
        """
        if count > len(self._free):
            return None
        cut = len(self._free) - count
        taken = self._free[cut:]
        del self._free[cut:]
        return sorted(taken)

    def release(self, host_ids: list[int]) -> None:
        """Take blocks back."""
        self._free.extend(sorted(host_ids, reverse=True))
