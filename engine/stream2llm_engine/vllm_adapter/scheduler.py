"""vLLM's scheduler with streaming sessions and a two-phase plan around each step.

``StreamScheduler`` is what vLLM loads (``scheduler_cls``). It changes nothing for ordinary requests
but the order in which they get tokens and blocks. Sessions are ordinary requests whose last known
token is held back while they are open, so that every step of theirs is a partial prefill to the
model runner and nothing is sampled.

vLLM's waiting queues are filled with what the plan selected just before ``super().schedule()`` and
emptied after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import RequestStatus

from stream2llm_engine.cost_model import CostModel
from stream2llm_engine.planner import StepLimits, StepPlan, plan_step
from stream2llm_engine.policies import resolve_policy
from stream2llm_engine.vllm_adapter.ledger import StepLedger
from stream2llm_engine.vllm_adapter.making_room import RoomMixin
from stream2llm_engine.vllm_adapter.ranking import DECODING
from stream2llm_engine.vllm_adapter.settings import StreamSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.outputs import ModelRunnerOutput
    from vllm.v1.request import Request

    from stream2llm_profiles import HardwareProfile

__all__ = ["StreamScheduler", "StreamSchedulerMixin", "SyncStreamScheduler"]


class StreamSchedulerMixin(RoomMixin):
    """Planning, for the synchronous and the asynchronous scheduler alike."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._grants: dict[str, int] = {}
        # The planner admits chunk by chunk and evicts to make room, so vLLM's own admission margins
        # would only refuse what the plan has already made room for.
        self.scheduler_reserve_full_isl = False
        self.kv_cache_manager.watermark_blocks = 0
        # A sequence that outgrows the pool could never be scheduled again: end it there.
        self.max_model_len = min(self.max_model_len, self._kv.capacity_tokens)
        self._stalled = False
        settings = StreamSettings.of(self.vllm_config.additional_config)
        if settings is not None:
            self.configure_streams(
                secret=settings.secret,
                policy=settings.policy,
                profile=settings.profile,
                tenant_weights=settings.tenant_weights,
                fair_share=settings.fair_share,
            )
            self._configure_swap_from(settings)
            self._remote = settings.remote

    # -- facade ----------------------------------------------------------------------------------

    def configure_streams(
        self,
        *,
        secret: str,
        policy: str,
        profile: HardwareProfile | None = None,
        tenant_weights: Mapping[str, float] | None = None,
        fair_share: bool = True,
    ) -> None:
        """Accept operations that carry ``secret`` and rank requests by ``policy``.

        Args:
            secret: Proof that an operation comes from the facade.
            policy: Name or import path of the policy.
            profile: Prices of the hardware; ``None``: learned from the engine's steps.
            tenant_weights: Share of each tenant relative to the others; 1 for those not listed.
            fair_share: Whether tenants take turns.
        """
        self._share_by(tenant_weights, fair_share=fair_share)
        self._secret = secret
        self._policy = resolve_policy(policy)
        self._cost = CostModel(profile)
        self._changed.update(self.requests)

    # -- one step --------------------------------------------------------------------------------

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """Plan the step, make room for it, and let vLLM schedule exactly the plan."""
        self._absorb_waiting()
        if self._pause_state is PauseState.PAUSED_ALL:
            return super().schedule(throttle_prefills)
        started_s = self.clock()
        plan = self._plan(started_s)
        self._evict(plan)
        if self._swap is not None:
            for request_id in plan.restores:
                self._swap.start_restore(self.requests[request_id])
        before = {
            request_id: self.requests[request_id].num_computed_tokens
            for request_id in plan.grants
            if request_id in self._sessions
        }
        hidden = self._hide_unselected(plan)
        self.running = []
        for request_id in plan.grants:
            request = self.requests[request_id]
            if request.status is RequestStatus.RUNNING:
                self.running.append(request)
            else:
                del self._backlog[request_id]
                self._enqueue_waiting_request(request)
        self._grants = plan.grants
        try:
            output = super().schedule(throttle_prefills)
        finally:
            self._grants = {}
            self.running.extend(hidden)
            self._absorb_waiting()
        if output.total_num_scheduled_tokens:
            self._note_start(output, started_s)
        self._account(output, before)
        self._stalled = self._nothing_left_to_try(output)
        return output

    def _nothing_left_to_try(self, output: SchedulerOutput) -> bool:
        """Whether stepping again is pointless until somebody calls.

        Open sessions may have to wait for blocks that older ones keep.
        """
        return (
            output.total_num_scheduled_tokens == 0
            and not output.finished_req_ids
            and not (self._swap is not None and self._swap.busy)
            and not any(self._is_blocked_waiting_status(r.status) for r in self._backlog.values())
        )

    def _plan(self, now_s: float) -> StepPlan:
        self._refresh_keys()
        ranked = [request.request_id for request in self.running]
        swap = self._swap
        if swap is None or not swap.busy:
            ranked += self._backlog
        else:
            ranked += (i for i in self._backlog if not swap.is_restoring(i))
        ranked.sort(key=self._keys.__getitem__)
        ranked = self._take_turns(ranked)
        limits = StepLimits(
            token_budget=self.max_num_scheduled_tokens,
            # vLLM stops admitting at its own limit; a plan beyond it would evict for nothing.
            slots=min(self.max_num_active_reqs, self.max_num_running_reqs),
            open_budget=self._open_budget,
            added_budget=self._added_budget,
            answer_step_s=self._cost.prefill_s(self.max_num_scheduled_tokens),
        )
        return plan_step(ranked, StepLedger(self, now_s), limits)

    def _account(self, output: SchedulerOutput, before: dict[str, int]) -> None:
        """Count the step, and park the sessions it catches up."""
        self.last_step_tokens = output.total_num_scheduled_tokens
        self._tokens["computed"] += output.total_num_scheduled_tokens
        keys = self._keys
        prefilling = [i for i in output.num_scheduled_tokens if keys[i][0] != DECODING]
        self._changed.update(prefilling)
        self._charge(output, prefilling)
        caught_up: set[str] = set()
        for request_id, computed_before in before.items():
            scheduled = output.num_scheduled_tokens.get(request_id)
            if scheduled is None:
                continue
            session = self._sessions[request_id]
            end = session.request.num_computed_tokens
            reused = max(0, end - scheduled - computed_before)
            self._tokens["reused"] += reused
            recomputed = session.count_step(end - scheduled, end, reused)
            self._tokens["recomputed"] += recomputed
            if reused or recomputed:
                self._report(session)
            if not session.finalized and self._remaining(session.request, session) <= 0:
                caught_up.add(request_id)
        if caught_up:
            self.running = [r for r in self.running if r.request_id not in caught_up]
            for request_id in caught_up:
                self._park(self._sessions[request_id])

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> Any:
        """Take the step's results and report the sessions whose KV is now in place."""
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        now = self.clock()
        if scheduler_output.total_num_scheduled_tokens:
            self._stalled = False
            self._note_end(scheduler_output.total_num_scheduled_tokens, now)
        for request_id in scheduler_output.num_scheduled_tokens:
            session = self._sessions.get(request_id)
            if session is None:
                continue
            session.step_end_s = now
            if request_id in self._parked and session.request.num_in_flight_tokens == 0:
                session.prefilled_sequence = session.sequence
                self._report(session)
        self._publish(outputs)
        return outputs

    # -- vLLM's hooks ----------------------------------------------------------------------------

    def _reserve_prefill_lookahead(
        self, request: Request, num_computed_tokens: int, num_new_tokens: int
    ) -> int:
        """Cap a chunk at its grant and hold the last token of an open session."""
        request_id = request.request_id
        tokens = num_new_tokens
        if self.num_prefill_lookahead > 1:
            tokens = super()._reserve_prefill_lookahead(request, num_computed_tokens, tokens)
        granted = self._grants.get(request_id)
        if granted is not None and granted < tokens:
            tokens = granted
        session = self._sessions.get(request_id)
        if session is not None and not session.finalized:
            tokens = min(tokens, request.num_tokens - self._hold - num_computed_tokens)
        return int(tokens) if tokens > 0 else 0

    def _get_local_prefix_cache_hit(self, request: Request) -> tuple[KVCacheBlocks, int, int, bool]:
        """Leave an open session at least one token to compute.

        A request in the waiting loop with nothing to compute would stop the scan for everyone.
        """
        blocks, tokens, boundary, diverged = super()._get_local_prefix_cache_hit(request)
        session = self._sessions.get(request.request_id)
        limit = request.num_tokens - self._hold - 1
        if session is None or session.finalized or tokens <= limit:
            return blocks, tokens, boundary, diverged
        if not self._kv.can_truncate or limit < self.block_size:
            return self.kv_cache_manager.empty_kv_cache_blocks, 0, 0, False
        aligned = limit // self.block_size * self.block_size
        blocks = self.kv_cache_manager.truncate_computed_blocks(blocks, aligned)
        return blocks, aligned, boundary, diverged

    def _preempt_request(
        self, request: Request, timestamp: float, drop_stale_output: bool = False
    ) -> None:
        """Count vLLM's own preemptions, and keep an undecoded session's prompt fresh."""
        super()._preempt_request(request, timestamp, drop_stale_output)
        if self._grants:
            self._evictions["builtin"] += 1
        session = self._sessions.get(request.request_id)
        if session is not None and not request.num_output_tokens:
            request.status = RequestStatus.WAITING
            request.num_preemptions = 0

    def finish_requests(
        self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus
    ) -> list[Request]:
        """Finish requests wherever they are, parked ones included."""
        self._stalled = False
        if isinstance(request_ids, str):
            request_ids = (request_ids,)
        ids = list(self.requests) if request_ids is None else list(request_ids)
        for request_id in ids:
            self._backlog.pop(request_id, None)
            self._parked.pop(request_id, None)
        finished: list[Request] = super().finish_requests(ids, finished_status)
        return finished

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        session = self._sessions.pop(request.request_id, None)
        if session is not None:
            self._report(session)
        self._backlog.pop(request.request_id, None)
        self._forget_key(request.request_id)
        if self._swap is not None:
            self._swap.forget(request.request_id)
        return super()._free_request(request, delay_free_blocks)

    def add_request(self, request: Request) -> None:
        """Add an ordinary request, or apply the session operation it carries."""
        stalled, self._stalled = self._stalled, False
        super().add_request(request)
        # A question brings nothing that a stalled request waits for.
        self._stalled = stalled and request.request_id in self._answers

    def set_pause_state(self, pause_state: PauseState) -> None:
        """Pause or resume."""
        self._stalled = False
        super().set_pause_state(pause_state)

    def has_requests(self) -> bool:
        """Whether a step could do anything, or has to carry a report."""
        return self._report_due() or self._has_work()

    def _has_work(self) -> bool:
        if self._swap is not None and self._swap.busy:
            return True
        return not self._stalled and bool(super().has_requests())

    def has_finished_requests(self) -> bool:
        """Whether the model runner has to hear of requests that ended.

        vLLM, where it has a connector, also counts requests that are in none of its queues: ours
        are parked.
        """
        return bool(self.finished_req_ids)

    def get_request_counts(self) -> tuple[int, int]:
        """Return ``(running, waiting)``; parked sessions are neither."""
        running, waiting = super().get_request_counts()
        return running, waiting + len(self._backlog)

    def reset_prefix_cache(
        self, reset_running_requests: bool = False, reset_connector: bool = False
    ) -> bool:
        """Forget cached prefixes; parked sessions give up their blocks for it.

        False while KV is on its way back from host memory: it is dropped, but its blocks cannot be
        forgotten before the copy has ended. Call again after a step.
        """
        self._stalled = False
        self._changed.update(self.requests)
        if self._swap is not None:
            self._swap.forget_all()
            if self._swap.busy:
                return False
        holders = list(self._parked.values())
        if reset_running_requests:
            holders += [r for r in self._backlog.values() if r.num_computed_tokens]
        for request in holders:
            self._kv.release(request)
        done: bool = super().reset_prefix_cache(reset_running_requests, reset_connector)
        return done

    def shutdown(self) -> None:
        """Drop every reference to requests."""
        self._sessions.clear()
        self._backlog.clear()
        self._parked.clear()
        super().shutdown()


class SyncStreamScheduler(StreamSchedulerMixin, Scheduler):
    """For engines without asynchronous scheduling (the CPU backend among them)."""


class StreamScheduler(StreamSchedulerMixin, AsyncScheduler):
    """The class to name in ``scheduler_cls``; it gives the variant the configuration needs."""

    def __new__(cls, vllm_config: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the synchronous variant unless the configuration schedules asynchronously."""
        if vllm_config.scheduler_config.async_scheduling:
            return super().__new__(cls)
        return SyncStreamScheduler(vllm_config, *args, **kwargs)
