"""Session operations under vLLM's own order and preemption: the baseline ``stock``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import RequestStatus

from stream2llm_engine.vllm_adapter.scheduler import SyncStreamScheduler

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request

    from stream2llm_engine.vllm_adapter.core_session import CoreSession

__all__ = ["StockOrderScheduler"]


class StockOrderScheduler(SyncStreamScheduler):
    """What Stream2LLM (MLSys'26) calls streaming under the default scheduler of vLLM.

    An open session stays in vLLM's running queue, idle or not, and takes new chunks in place.
    Blocks are taken from the tail of that queue, and a victim goes to the front of the waiting
    queue. It exists for simulations: an engine wedges when only idle sessions hold blocks.
    """

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """Let vLLM schedule; only decoding of open sessions is held."""
        for request_id in list(self._backlog):
            self._enqueue_waiting_request(self._backlog.pop(request_id))
        before = {i: s.request.num_computed_tokens for i, s in self._sessions.items()}
        output = Scheduler.schedule(self, throttle_prefills)
        for request_id in output.num_scheduled_tokens:
            session = self._sessions.get(request_id)
            if session is not None:
                end = session.request.num_computed_tokens
                start = end - output.num_scheduled_tokens[request_id]
                reused = max(0, start - before[request_id])
                self._tokens["reused"] += reused
                self._tokens["recomputed"] += session.count_step(start, end, reused)
        self._tokens["computed"] += output.total_num_scheduled_tokens
        self.last_step_tokens = output.total_num_scheduled_tokens
        self._stalled = output.total_num_scheduled_tokens == 0
        return output

    def _preempt_request(
        self, request: Request, timestamp: float, drop_stale_output: bool = False
    ) -> None:
        self._evicted_blocks += sum(1 for _ in self._kv.held(request.request_id))
        super()._preempt_request(request, timestamp, drop_stale_output)
        self._evictions["recompute"] += 1

    def _absorb_waiting(self) -> None:
        """Leave vLLM's waiting queues as they are."""

    def _detach(self, request: Request) -> None:
        """Leave the request where it is."""

    def _requeue(self, session: CoreSession) -> None:
        request = session.request
        request.num_preemptions = 0
        if request.status == RequestStatus.RUNNING or any(
            request in queue for queue in (self.waiting, self.kv_holding_waiting)
        ):
            return
        self._backlog[request.request_id] = request

    def _park(self, session: CoreSession) -> None:
        """Leave an idle session in the running queue."""
