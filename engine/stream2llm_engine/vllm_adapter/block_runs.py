"""Which blocks of a copy lie side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stream2llm_engine.vllm_adapter.host_pool import HostPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BlockRun", "block_runs"]


class BlockRun(NamedTuple):
    """Consecutive rows of a host segment and the device blocks that belong to them.

    Attributes:
        segment: Number of the segment.
        start: First row in it.
        device_ids: The device block of each row.
        is_dense: Whether the device blocks are consecutive too.
    """

    segment: int
    start: int
    device_ids: list[int]
    is_dense: bool

    @property
    def host(self) -> slice:
        """The rows of the segment."""
        return slice(self.start, self.start + len(self.device_ids))

    @property
    def device(self) -> slice:
        """The device blocks, where they are consecutive."""
        first = self.device_ids[0]
        return slice(first, first + len(self.device_ids))


def block_runs(
    host_ids: Sequence[int], device_ids: Sequence[int], *, dense_only: bool = False
) -> Iterator[BlockRun]:
    """Yield runs of consecutive host ids that end with their segment.

    Args:
        host_ids: Blocks in host memory.
        device_ids: Their counterparts.
        dense_only: Also end a run where the device ids are not consecutive.
    """
    size = HostPool.SEGMENT_BLOCKS
    pairs = sorted(zip(host_ids, device_ids, strict=True))
    start = 0
    dense = True
    for end in range(1, len(pairs) + 1):
        if end < len(pairs):
            (host, device), (next_host, next_device) = pairs[end - 1], pairs[end]
            follows = next_device == device + 1
            if next_host == host + 1 and next_host % size and (follows or not dense_only):
                dense = dense and follows
                continue
        first = pairs[start][0]
        yield BlockRun(first // size, first % size, [pair[1] for pair in pairs[start:end]], dense)
        start, dense = end, True
