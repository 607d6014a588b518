"""Victims' KV on its way to host memory and back, in terms of requests and sessions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from stream2llm_engine.preemption import PreemptionChooser, PreemptionMode
from stream2llm_engine.vllm_adapter.kv_swap import KvSwap
from stream2llm_engine.vllm_adapter.operations import SessionOperationsMixin
from stream2llm_engine.vllm_adapter.swap_connector import SwapConnector

if TYPE_CHECKING:
    from vllm.v1.request import Request

    from stream2llm_engine.vllm_adapter.settings import StreamSettings
    from stream2llm_engine.vllm_adapter.swap_connector import SwapReport

__all__ = ["SwappingMixin"]

_GIB = 2**30


class SwappingMixin(SessionOperationsMixin):
    """Decides what becomes of a victim's KV, and takes note of copies that ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._chooser = PreemptionChooser("recompute", self._cost)
        self._restored_by: Counter[int] = Counter()
        self._workers: int = self.vllm_config.parallel_config.world_size

    def configure_swap(
        self, *, preemption: PreemptionMode, host_blocks: int, block_bytes: int
    ) -> None:
        """Keep evicted KV in host memory where that is cheaper than computing it again.

        Only where block tables can be cut; elsewhere KV is always computed again.

        Args:
            preemption: ``"auto"`` decides by price, the others always do the same.
            host_blocks: KV blocks that host memory may hold.
            block_bytes: Bytes of one block over all layers and workers.
        """
        if preemption == "recompute" or host_blocks <= 0 or not self._kv.can_truncate:
            return
        self._chooser = PreemptionChooser(preemption, self._cost)
        self._swap = KvSwap(self._kv, host_blocks=host_blocks, block_bytes=block_bytes)
        if isinstance(self.connector, SwapConnector):
            self.connector.bind_scheduler(
                host_blocks=host_blocks,
                take_copies=self._swap.take_copies,
                on_report=self._on_swap_report,
            )

    def _configure_swap_from(self, settings: StreamSettings) -> None:
        if not isinstance(self.connector, SwapConnector):
            return
        # Copies are made on the stream that computes, so no step still writes what was freed.
        self.defer_block_free = False
        cache = self.kv_cache_config
        worker_bytes = sum(tensor.size for tensor in cache.kv_cache_tensors)
        block_bytes = worker_bytes // cache.num_blocks * self._workers
        self.configure_swap(
            preemption=settings.preemption,
            host_blocks=int(settings.swap_space_gib * _GIB) // block_bytes,
            block_bytes=block_bytes,
        )

    def _give_up(self, request: Request, blocks: int) -> bool:
        """Take tail blocks of a victim; return whether their content went to host memory."""
        swap = self._swap
        held = len(self._kv.held_by.get(request.request_id, ()))
        if swap is None or not held:
            self._evicted_blocks += self._kv.drop_tail(request, blocks)
            return False
        # Giving up the tail alone would cost what host memory holds behind it as well.
        context = self._in_place(request)
        kept = max(0, held - blocks)
        # What is in flight for an answer may be taken back; its KV is not worth a copy.
        settled = not (request.num_output_tokens and request.num_in_flight_tokens)
        if settled and self._chooser.swaps(
            context=context,
            tokens=context - min(context, kept * self._kv.block_size),
            blocks=blocks,
            block_bytes=swap.block_bytes,
        ):
            freed = swap.swap_out(request, blocks)
            if freed is not None:
                self._evicted_blocks += freed
                return True
        swap.forget(request.request_id)
        self._evicted_blocks += self._kv.drop_tail(request, blocks)
        return False

    def _on_swap_report(self, report: SwapReport) -> None:
        """Take note of what the workers did; a copy is complete when all of them have made it."""
        assert self._swap is not None
        for request_id in self._swap.drop_unwritten(report.unwritten):
            self._kv_lost(request_id)
        for restore_id in report.failed:
            self.end_restore(restore_id, succeeded=False)
        self._restored_by.update(report.restored)
        for restore_id in report.restored:
            if self._restored_by[restore_id] >= self._workers:
                del self._restored_by[restore_id]
                self.end_restore(restore_id, succeeded=True)

    def end_restore(self, restore_id: int, *, succeeded: bool) -> None:
        """Take note that a copy back has ended; for the connector, and for whoever simulates it."""
        assert self._swap is not None
        restored = self._swap.finish_restore(restore_id, succeeded=succeeded)
        self._stalled = False
        if restored is None:
            return
        self._touch(restored.request)
        if not restored.complete:
            self._kv_lost(restored.request.request_id)

    def _kv_lost(self, request_id: str) -> None:
        """Let a request compute again what host memory failed to keep."""
        request = self.requests.get(request_id)
        if request is None:
            return
        self._touch(request)
        session = self._sessions.get(request_id)
        if session is None:
            return
        session.lookup_due = True
        if self._parked.pop(request_id, None) is not None:
            session.refill = True
            self._backlog[request_id] = request
