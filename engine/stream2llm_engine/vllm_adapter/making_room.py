"""Who has to leave: victims give up tail blocks, running requests their turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.v1.request import RequestStatus

from stream2llm_engine.vllm_adapter.counting import CountingMixin

if TYPE_CHECKING:
    from vllm.v1.request import Request

    from stream2llm_engine.planner import StepPlan

__all__ = ["RoomMixin"]


class RoomMixin(CountingMixin):
    """Makes room for what a plan has selected, before vLLM schedules it."""

    def _evict(self, plan: StepPlan) -> None:
        """Phase 2: the victims give up their tail blocks."""
        for request_id, blocks in plan.evictions.items():
            request = self.requests[request_id]
            in_place = self._in_place(request)
            swapped = self._give_up(request, blocks)
            lost = in_place > self._in_place(request)
            if not (swapped or lost):
                continue
            self._evictions["swap" if swapped else "recompute"] += 1
            self._touch(request)
            session = self._sessions.get(request_id)
            if session is not None:
                self._idle_evictions += request_id in self._parked or session.refill
                session.preemptions += 1
                session.swaps += swapped
                session.lookup_due |= lost
                self._report(session)
                if lost and self._parked.pop(request_id, None) is not None:
                    session.refill = True
                    self._backlog[request_id] = request
            if request.status == RequestStatus.RUNNING:
                self._suspend(request)

    def _hide_unselected(self, plan: StepPlan) -> list[Request]:
        """Return the running requests that sit this step out.

        They keep their slots in the model runner, as far as the plan leaves any.
        """
        hidden = [r for r in self.running if r.request_id not in plan.grants]
        spare = max(0, self.max_num_running_reqs - len(plan.grants))
        for request in hidden[spare:]:
            self._suspend(request)
        return hidden[:spare]

    def _suspend(self, request: Request) -> None:
        """Move a running request to the backlog; it keeps the KV it still holds."""
        self.running.remove(request)
        self._inflight_prefills.discard(request)
        self.reset_preempted_req_ids.add(request.request_id)
        request.spec_token_ids = []
        if request.num_output_tokens or request.num_output_placeholders:
            # The model runner knows prompt and output and takes it back as resumed. What is in
            # flight is still delivered; only then is its last token known.
            request.status = RequestStatus.PREEMPTED
            request.num_preemptions += 1
            request.num_stale_output_tokens = request.num_in_flight_tokens
            request.drop_stale_output = False
            request.num_output_placeholders = 0
            request.num_computed_tokens = min(request.num_computed_tokens, request.num_tokens)
        else:
            request.status = RequestStatus.WAITING
        self._backlog[request.request_id] = request
        self._touch(request)
