"""Session operations inside vLLM's scheduler.

Where requests are between two steps: ``running`` (vLLM's list), the *backlog* (runnable, not
running) or *parked* (open sessions with nothing to compute).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from vllm.v1.metrics.stats import PrefillStats
from vllm.v1.request import RequestStatus

from stream2llm_engine.arrival_model import EventHistory
from stream2llm_engine.tokens import common_prefix_length
from stream2llm_engine.vllm_adapter.core_session import (
    CoreSession,
    extend_prompt,
    replace_prompt,
)
from stream2llm_engine.vllm_adapter.kv import KvPool
from stream2llm_engine.vllm_adapter.sharing import SharingMixin
from stream2llm_engine.wire import QUESTIONS, Operation, OperationKind, Progress

if TYPE_CHECKING:
    from vllm.v1.request import Request

__all__ = ["SessionOperationsMixin"]

_logger = logging.getLogger(__name__)


class SessionOperationsMixin(SharingMixin):
    """Opens, appends to, updates and finalizes sessions; knows where every request is."""

    # vLLM assigns both outside what a type checker can follow.
    running: list[Request]
    max_model_len: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._backlog: dict[str, Request] = {}
        self._parked: dict[str, Request] = {}
        self._invalidated_tokens = 0
        self._secret: str | None = None
        # Drafts of multi-token prediction read that many known tokens ahead.
        self._hold = max(1, self.num_prefill_lookahead)
        self._kv = KvPool(
            self.kv_cache_manager,
            lookahead_tokens=self.num_lookahead_tokens,
            max_model_len=self.max_model_len,
        )

    def add_request(self, request: Request) -> None:
        """Add an ordinary request, or apply the session operation it carries.

        Nothing an operation carries raises: an exception here would end vLLM's core for everyone.
        """
        params = request.sampling_params
        operation = Operation.decode(params.extra_args if params else None, self._secret)
        if operation is None or operation.kind is OperationKind.GENERATE:
            if operation is not None:
                self._enroll(request.request_id, operation.tenant)
            super().add_request(request)
            return
        try:
            self._apply(operation, request)
        except Exception as error:
            _logger.exception("operation %s on %s failed", operation.kind, request.request_id)
            self._fail(request.request_id, f"{type(error).__name__}: {error}")

    def _apply(self, operation: Operation, request: Request) -> None:
        request_id = request.request_id
        if operation.kind in QUESTIONS:
            self._answer(request_id, operation.kind)
            return
        session = self._sessions.get(request_id)
        if operation.kind is OperationKind.OPEN:
            if request_id not in self.requests:
                self._open(operation, request)
            return
        if session is None or session.finalized:
            # Aborts overtake operations; an operation never opens a session.
            if session is None and operation.kind is OperationKind.FINALIZE:
                gone = "the engine ended it before it was finalized; send the request again"
                self._reports[request_id] = Progress(session_id=request_id, error=gone)
            return
        session.sequence = operation.sequence
        session.refill = False
        final = operation.kind is OperationKind.FINALIZE
        self._learn_event(session, request.arrival_time, final=final)
        tokens = [] if operation.empty else list(request.prompt_token_ids or ())
        self._detach(session.request)
        if operation.kind is OperationKind.UPDATE:
            self._replace(session, tokens)
        elif tokens:
            extend_prompt(session.request, tokens)
        in_place = self._settle(session)
        if final:
            self._finalize(session, request, in_place)
        self._predict(session)
        self._requeue(session)

    def _open(self, operation: Operation, request: Request) -> None:
        session = CoreSession(
            request=request,
            sequence=operation.sequence,
            history=EventHistory(tenant=operation.tenant, last_event_s=request.arrival_time),
        )
        self._sessions[request.request_id] = session
        request.priority = operation.priority
        super().add_request(request)
        self._absorb_waiting()
        self._detach(request)
        self._predict(session)
        self._requeue(session)

    def _replace(self, session: CoreSession, tokens: list[int]) -> None:
        """Replace the prompt; KV past the longest common prefix goes."""
        request = session.request
        common = common_prefix_length(request._all_token_ids, tokens)
        self._arrivals.observe_update(session.history, common / max(1, request.num_tokens))
        computed = self._in_place(request)
        # The held token of the new prompt is not computed either.
        valid = min(common, computed, max(0, len(tokens) - self._hold))
        invalidated = max(0, computed - common)
        session.invalidated_tokens += invalidated
        self._invalidated_tokens += invalidated
        session.high_water = min(session.high_water, common)
        self._kv.truncate(request, valid)
        if self._swap is not None:
            self._swap.truncate(request, valid)
        if valid < computed:
            # What is lost to the edge of a block is computed again, but nobody took it.
            session.high_water = min(session.high_water, self._in_place(request))
        replace_prompt(request, tokens, common, self.hash_block_size)
        # A document that comes back may be cached behind the cut.
        session.lookup_due |= valid < computed

    def _settle(self, session: CoreSession) -> int:
        """Give up the kept prefix where the prefix cache knows a longer one.

        vLLM looks the cache up only for requests that hold nothing.

        Returns:
            Prompt tokens whose KV is in place, held or cached.
        """
        request = session.request
        held = self._in_place(request)
        if not session.lookup_due:
            return held
        session.lookup_due = False
        if not self.kv_cache_manager.prefix_cache_lookup_enabled(request):
            return held
        _, hit, _, _ = self._get_local_prefix_cache_hit(request)
        if 0 < held < hit:
            self._kv.release(request)
            if self._swap is not None:
                self._swap.forget(request.request_id)
        return max(held, int(hit))

    def _finalize(self, session: CoreSession, request: Request, in_place: int) -> None:
        """Take sampling parameters from the operation and let decoding start."""
        own = session.request
        session.finalized = True
        if session.step_end_s > request.arrival_time:
            # The step that was running when the operation was sent does not count.
            in_place = min(in_place, session.step_start_tokens)
        session.prefilled_before_final = in_place
        own.sampling_params = request.sampling_params
        own.max_tokens = request.max_tokens
        own.structured_output_request = request.structured_output_request
        own.prefill_stats = PrefillStats()
        # A model runner refreshes neither seed generator nor LoRA of a request it knows: let it
        # forget this one, so that it comes back as new.
        self.finished_req_ids.add(own.request_id)

    def _requeue(self, session: CoreSession) -> None:
        request = session.request
        request_id = request.request_id
        request.status = RequestStatus.WAITING
        if session.finalized and request.structured_output_request is not None:
            request.status = RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        # Anything but 0 would bring it back as "resumed" with the model runner's old prompt.
        request.num_preemptions = 0
        if not session.finalized and self._remaining(request, session) <= 0:
            self._park(session)
            session.prefilled_sequence = session.sequence
        else:
            self._backlog[request_id] = request
        self._touch(request)
        self._report(session)

    def _park(self, session: CoreSession) -> None:
        """Take a caught-up session out of every queue; it keeps its blocks for now."""
        request = session.request
        request.status = RequestStatus.WAITING
        self._inflight_prefills.discard(request)
        self._parked[request.request_id] = request
        session.refill = False
        self._touch(request)
        # The V2 model runner frees a request's slot only when told.
        self.reset_preempted_req_ids.add(request.request_id)

    def _detach(self, request: Request) -> None:
        """Take a request out of wherever it is; it keeps its blocks."""
        self._absorb_waiting()
        request_id = request.request_id
        if request.status == RequestStatus.RUNNING:
            self.running.remove(request)
            self.reset_preempted_req_ids.add(request_id)
        self._backlog.pop(request_id, None)
        self._parked.pop(request_id, None)
        self._inflight_prefills.discard(request)

    def _fail(self, request_id: str, reason: str) -> None:
        session = self._sessions.get(request_id)
        if session is None:
            return
        report = session.progress(error=reason)
        self.finish_requests(request_id, RequestStatus.FINISHED_ERROR)
        self._reports[request_id] = report

    def _report(self, session: CoreSession) -> None:
        self._reports[session.request.request_id] = session.progress()

    def _absorb_waiting(self) -> None:
        """Move what vLLM put into its waiting queues to the backlog."""
        for queue in (self.kv_holding_waiting, self.waiting):
            while queue:
                request = queue.pop_request()
                self._backlog[request.request_id] = request
                self._touch(request)
        self.deferred_waiting.clear()
