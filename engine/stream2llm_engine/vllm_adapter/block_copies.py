"""The worker side of KV swap: blocks to host memory and back."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stream2llm_engine.errors import UnsupportedFeatureError
from stream2llm_engine.vllm_adapter.block_layout import block_matrices
from stream2llm_engine.vllm_adapter.block_runs import block_runs
from stream2llm_engine.vllm_adapter.host_pool import HostPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from stream2llm_engine.vllm_adapter.block_runs import BlockRun

    _Bytes = npt.NDArray[np.uint8]

__all__ = ["BlockCopier", "CopyIn"]


class CopyIn:
    """A copy to the device that may still be under way."""

    def __init__(self, event: Any = None) -> None:
        self._event = event

    def done(self) -> bool:
        """Return whether the blocks may be read; raises if the device failed."""
        return self._event is None or bool(self._event.query())


class BlockCopier:
    """Copies KV blocks between the device caches of a worker and a host pool.

    The blocks of a copy belong to it until it is done: until then the caller neither writes them
    nor gives them to anyone else, on either side.

    Args:
        caches: KV cache of each layer.
        num_blocks: Blocks in each cache.
        host_blocks: Most blocks in host memory.

    Attributes:
        bytes_per_block: Bytes of one block over all layers.

    Raises:
        UnsupportedFeatureError: The caches have a layout or a device that cannot be copied.
    """

    def __init__(
        self, caches: Mapping[str, torch.Tensor], num_blocks: int, host_blocks: int
    ) -> None:
        matrices = block_matrices(caches, num_blocks)
        row_bytes = [int(matrix.shape[1]) for matrix in matrices]
        device = matrices[0].device if matrices else torch.device("cpu")
        self.bytes_per_block = sum(row_bytes)
        self._num_blocks = num_blocks
        self._pool = HostPool(row_bytes, host_blocks, pinned=device.type == "cuda")
        self._copies: _DirectCopies | _QueuedCopies
        match device.type:
            case "cpu":
                self._copies = _DirectCopies(matrices, self._pool)
            case "cuda":
                self._copies = _QueuedCopies(matrices, self._pool, _CudaStreams(device))
            case other:
                msg = f'KV blocks cannot be copied from {other}: use preemption="recompute"'
                raise UnsupportedFeatureError(msg)

    @property
    def host_bytes(self) -> int:
        """Host memory allocated so far."""
        return self._pool.allocated_bytes

    def copy_out(self, device_ids: Sequence[int], host_ids: Sequence[int]) -> None:
        """Copy blocks to the host, before whatever is queued next on the current stream.

        Raises:
            MemoryError: The host has no memory left.
            RuntimeError: The device failed. In both cases the host blocks of this call hold nothing
                that can be used; those of other calls are as they were.
        """
        self._check(device_ids, host_ids)
        self._pool.reserve(host_ids)
        self._copies.copy_out(host_ids, device_ids)

    def start_copy_in(self, host_ids: Sequence[int], device_ids: Sequence[int]) -> CopyIn:
        """Start to copy blocks back, behind whatever is queued on the current stream.

        Raises:
            LookupError: A host block was never copied out.
            RuntimeError: The device failed. The device blocks of this call hold nothing then.
        """
        self._check(device_ids, host_ids)
        return self._copies.start_copy_in(host_ids, device_ids)

    def close(self) -> None:
        """Wait for copies under way and give the host memory back."""
        self._copies.finish()
        self._pool.clear()

    def _check(self, device_ids: Sequence[int], host_ids: Sequence[int]) -> None:
        # An id out of range would kill a CUDA context, or silently hit another block.
        for what, ids, limit in (
            ("device", device_ids, self._num_blocks),
            ("host", host_ids, self._pool.blocks),
        ):
            if ids and not 0 <= min(ids) <= max(ids) < limit:
                msg = f"{what} blocks are numbered from 0 to {limit - 1}, got {sorted(ids)}"
                raise ValueError(msg)
        if len(device_ids) != len(host_ids):
            msg = f"{len(device_ids)} device blocks for {len(host_ids)} host blocks"
            raise ValueError(msg)


class _DirectCopies:
    """Copies within host memory, in one thread and one pass.

    Torch's own indexing starts its thread pool for every cache, which costs more than the copy
    where another thread pool is busy.
    """

    def __init__(self, matrices: list[torch.Tensor], pool: HostPool) -> None:
        self._caches = [matrix.numpy() for matrix in matrices]
        # NumPy would copy a whole cache that has gaps before it takes rows.
        self._dense_only = not all(matrix.is_contiguous() for matrix in matrices)
        self._pool = pool

    def copy_out(self, host_ids: Sequence[int], device_ids: Sequence[int]) -> None:
        for cache, host, pairs in self._work(host_ids, device_ids):
            for rows, index in pairs:
                if isinstance(index, slice):
                    host[rows] = cache[index]
                else:
                    # "raise", the default mode, goes through a buffer.
                    np.take(cache, index, axis=0, out=host[rows], mode="clip")

    def start_copy_in(self, host_ids: Sequence[int], device_ids: Sequence[int]) -> CopyIn:
        for cache, host, pairs in self._work(host_ids, device_ids):
            for rows, index in pairs:
                cache[index] = host[rows]
        return CopyIn()

    def finish(self) -> None:
        """Nothing is under way between two calls."""

    def _work(
        self, host_ids: Sequence[int], device_ids: Sequence[int]
    ) -> Iterator[tuple[_Bytes, _Bytes, list[tuple[slice, slice | npt.NDArray[np.intp]]]]]:
        """Yield caches and host segments, with the rows that belong to each other."""
        runs = block_runs(host_ids, device_ids, dense_only=self._dense_only)
        work = []
        for number, group in groupby(runs, key=lambda run: run.segment):
            pairs = [
                (run.host, run.device if run.is_dense else np.array(run.device_ids, dtype=np.intp))
                for run in group
            ]
            work.append((self._pool.segment(number), pairs))
        # All segments are there; only now does anything change.
        for segment, pairs in work:
            for cache, host in zip(self._caches, segment, strict=True):
                yield cache, host.numpy(), pairs


class _QueuedCopies:
    """Copies between a GPU and pinned host memory, queued on streams.

    Args:
        matrices: The caches.
        pool: The host side.
        streams: What orders the copies.
    """

    def __init__(self, matrices: list[torch.Tensor], pool: HostPool, streams: _CudaStreams) -> None:
        self._caches = matrices
        self._pool = pool
        self._streams = streams

    def copy_out(self, host_ids: Sequence[int], device_ids: Sequence[int]) -> None:
        for run in block_runs(host_ids, device_ids):
            ids = self._ids(run)
            for cache, host in zip(self._caches, self._pool.segment(run.segment), strict=True):
                rows = cache[run.device] if run.is_dense else cache.index_select(0, ids)
                host[run.host].copy_(rows, non_blocking=True)

    def start_copy_in(self, host_ids: Sequence[int], device_ids: Sequence[int]) -> CopyIn:
        runs = [(run, self._pool.segment(run.segment)) for run in block_runs(host_ids, device_ids)]
        with self._streams.beside() as event:
            for run, segment in runs:
                ids = self._ids(run)
                for cache, host in zip(self._caches, segment, strict=True):
                    if run.is_dense:
                        cache[run.device].copy_(host[run.host], non_blocking=True)
                    else:
                        rows = host[run.host].to(cache.device, non_blocking=True)
                        cache.index_copy_(0, ids, rows)
        return CopyIn(event)

    def finish(self) -> None:
        self._streams.synchronize()

    def _ids(self, run: BlockRun) -> torch.Tensor:
        return torch.tensor(run.device_ids, device=self._caches[0].device)


class _CudaStreams:
    """A stream beside the current one, for copies that nothing has to wait for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = torch.cuda.Stream(device)

    @contextmanager
    def beside(self) -> Iterator[Any]:
        """Queue the block's work on the side; yields the event that marks its end."""
        current = torch.cuda.current_stream(self._device)
        self._side.wait_stream(current)
        event = torch.cuda.Event()
        try:
            with torch.cuda.stream(self._side):
                yield event
                event.record(self._side)
        except BaseException:
            # The caller gives the blocks to someone else, so nothing may write them any more.
            self._side.synchronize()
            raise

    def synchronize(self) -> None:
        self._side.synchronize()
        torch.cuda.current_stream(self._device).synchronize()
