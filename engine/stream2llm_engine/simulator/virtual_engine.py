"""The virtual clock: real scheduler, planner and KV manager, step times from a profile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from stream2llm_engine.cost_model import CostModel
from stream2llm_engine.policies import policy_path
from stream2llm_engine.simulator.host_link import HostLink
from stream2llm_engine.simulator.outcome import SimulationOutcome
from stream2llm_engine.simulator.settings import BASELINES
from stream2llm_engine.wire import Operation, OperationKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream2llm_engine.simulator.queries import SimulatedQuery
    from stream2llm_engine.simulator.settings import SimulationSettings

__all__ = ["simulate"]

_SECRET = "simulation"
_STREAM_NOTHING = "blocking"
_VLLM_ORDER = "stock"


def simulate(
    queries: Sequence[SimulatedQuery],
    settings: SimulationSettings,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> SimulationOutcome:
    """Run a workload on a simulated engine.

    Args:
        queries: The workload.
        settings: The engine.
        on_progress: Called with the number of answered queries, now and then.

    Raises:
        ValueError: The policy is unknown.
    """
    return _VirtualEngine(queries, settings, on_progress).run()


class _Due(NamedTuple):
    """Something that happens at a time; the sequence number breaks ties in trace order."""

    at_s: float
    sequence: int
    query: SimulatedQuery
    event: int


class _VirtualEngine:
    def __init__(
        self,
        queries: Sequence[SimulatedQuery],
        settings: SimulationSettings,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        from stream2llm_engine.vllm_adapter.modelless import request_hasher

        self._settings = settings
        self._now = 0.0
        self._streams = settings.policy != _STREAM_NOTHING
        self._scheduler = _scheduler(settings)
        self._scheduler.clock = lambda: self._now
        self._link = HostLink(CostModel(settings.profile), settings.block_bytes)
        self._hasher = request_hasher(settings.block_size) if settings.prefix_caching else None
        self._on_progress = on_progress
        self._outcome = SimulationOutcome(tenants={q.query_id: q.tenant for q in queries})
        self._final_s = {q.query_id: q.final_s for q in queries}
        self._arrival_s = {q.query_id: q.arrival_s for q in queries}
        self._agenda = self._accepted_agenda(queries)
        self._position = 0

    def run(self) -> SimulationOutcome:
        started = time.perf_counter()
        scheduler = self._scheduler
        while True:
            self._deliver()
            if not scheduler.has_requests():
                if self._position == len(self._agenda):
                    break
                self._now = self._agenda[self._position].at_s
                continue
            self._step()
        self._outcome.wall_s = time.perf_counter() - started
        self._read_counters()
        return self._outcome

    # -- the client ------------------------------------------------------------------------------

    def _accepted_agenda(self, queries: Sequence[SimulatedQuery]) -> list[_Due]:
        """Return everything that will happen, in order; refuse what can never fit."""
        pool_tokens = self._settings.pool_blocks * self._settings.block_size
        limit = min(self._scheduler.max_model_len, pool_tokens)
        agenda: list[_Due] = []
        for query in queries:
            if query.longest_prompt() + len(query.question) + query.output_tokens > limit:
                self._outcome.refused.append(query.query_id)
                continue
            if not self._streams:
                agenda.append(_Due(query.final_s, len(agenda), query, len(query.events) - 1))
                continue
            at_s = query.arrival_s
            for index, event in enumerate(query.events):
                at_s += event.delay_s
                agenda.append(_Due(at_s, len(agenda), query, index))
        agenda.sort(key=lambda due: (due.at_s, due.sequence))
        return agenda

    def _deliver(self) -> None:
        """Hand over what has happened by now."""
        agenda = self._agenda
        while self._position < len(agenda) and agenda[self._position].at_s <= self._now:
            due = agenda[self._position]
            self._position += 1
            if self._streams:
                self._send_event(due)
            else:
                self._add(due.query.query_id, due.query.final_prompt(), due, None)

    def _send_event(self, due: _Due) -> None:
        query = due.query
        event = query.events[due.event]
        final = due.event == len(query.events) - 1
        question: list[int] = []
        if final:
            question = query.question
        tokens = event.token_ids
        if due.event == 0:
            self._operate(OperationKind.OPEN, tokens or [0], due)
        elif event.replace:
            self._operate(OperationKind.UPDATE, tokens, due)
        elif final:
            question = tokens + question
        elif tokens:
            self._operate(OperationKind.APPEND, tokens, due)
        if final:
            self._operate(OperationKind.FINALIZE, question, due)

    def _operate(self, kind: OperationKind, tokens: list[int], due: _Due) -> None:
        operation = Operation(
            kind=kind,
            sequence=due.event + 1,
            secret=_SECRET,
            empty=not tokens,
            tenant=due.query.tenant,
        )
        self._add(due.query.query_id, tokens or [0], due, operation.encode())

    def _add(
        self, request_id: str, tokens: list[int], due: _Due, extra_args: dict[str, Any] | None
    ) -> None:
        from stream2llm_engine.vllm_adapter.modelless import modelless_request

        self._scheduler.add_request(
            modelless_request(
                request_id,
                list(tokens),
                arrival_s=due.at_s,
                max_tokens=due.query.output_tokens,
                extra_args=extra_args,
                hasher=self._hasher,
            )
        )

    # -- the engine ------------------------------------------------------------------------------

    def _step(self) -> None:
        scheduler = self._scheduler
        output = scheduler.schedule()
        waits_s = self._start_copies()
        if not output.num_scheduled_tokens:
            self._now += waits_s
            scheduler.update_from_output(output, _result({}))
            self._wait_for_copies()
            return
        chunks = []
        sampled: dict[str, list[int]] = {}
        requests = scheduler.requests
        for request_id, tokens in output.num_scheduled_tokens.items():
            request = requests[request_id]
            computed = request.num_computed_tokens
            chunks.append((tokens, computed - tokens))
            sampled[request_id] = [0] if computed >= request.num_tokens else []
        duration = self._settings.profile.prefill.step_s(chunks) + waits_s
        self._now += duration
        self._outcome.busy_s += duration
        self._outcome.steps += 1
        outputs = scheduler.update_from_output(output, _result(sampled))
        self._finish_copies()
        for batch in outputs.values():
            for item in batch.outputs:
                if item.new_token_ids:
                    self._on_token(item.request_id)

    def _start_copies(self) -> float:
        """Start what the plan of the step copies; return how long the step waits for it."""
        if not self._streams or self._scheduler._swap is None:
            return 0.0
        return self._link.start(self._scheduler._swap.take_copies(), self._now)

    def _finish_copies(self) -> None:
        for restore_id in self._link.take_finished(self._now):
            self._scheduler.end_restore(restore_id, succeeded=True)

    def _wait_for_copies(self) -> None:
        """Let time pass until a copy back is complete or something happens."""
        next_s = self._link.next_s()
        if next_s is None:
            return
        if self._position < len(self._agenda):
            next_s = min(next_s, self._agenda[self._position].at_s)
        self._now = max(self._now, next_s)
        self._finish_copies()

    def _on_token(self, query_id: str) -> None:
        outcome = self._outcome
        if query_id not in outcome.ttft_from_final_s:
            first_s = self._now + self._settings.profile.request_overhead_s
            outcome.ttft_from_final_s[query_id] = first_s - self._final_s[query_id]
            outcome.time_to_first_token_s[query_id] = first_s - self._arrival_s[query_id]
            if self._on_progress is not None:
                self._on_progress(len(outcome.ttft_from_final_s))
        outcome.completion_s = self._now

    def _read_counters(self) -> None:
        if self._settings.policy == _STREAM_NOTHING:
            return
        stats = self._scheduler.stream_stats()
        outcome = self._outcome
        outcome.tokens_computed = stats.tokens["computed"]
        outcome.tokens_invalidated = stats.tokens["invalidated"]
        outcome.tokens_recomputed = stats.tokens["recomputed"]
        outcome.tokens_reused = stats.tokens["reused"]
        outcome.preemptions = {k: v for k, v in stats.preemptions.items() if k != "builtin"}
        outcome.idle_preemptions = stats.idle_preemptions
        outcome.evicted_blocks = stats.evicted_blocks
        if stats.preemptions["builtin"] and self._settings.policy != _VLLM_ORDER:
            msg = f"vLLM preempted {stats.preemptions['builtin']} requests by itself"
            raise AssertionError(msg)


def _scheduler(settings: SimulationSettings) -> Any:
    from stream2llm_engine.vllm_adapter.modelless import build_scheduler, scheduler_class

    scheduler = build_scheduler(
        scheduler_class(settings.policy),
        blocks=settings.pool_blocks + 1,
        block_size=settings.block_size,
        token_budget=settings.token_budget,
        max_requests=settings.max_requests,
        max_model_len=settings.max_model_len,
        prefix_caching=settings.prefix_caching,
    )
    policy = "fcfs" if settings.policy in BASELINES else policy_path(settings.policy)
    if settings.policy != _STREAM_NOTHING:
        scheduler.configure_streams(
            secret=_SECRET,
            policy=policy,
            profile=settings.profile,
            tenant_weights=settings.tenant_weights,
            fair_share=settings.fair_share,
        )
        if settings.policy not in BASELINES:
            scheduler.configure_swap(
                preemption=settings.preemption,
                host_blocks=settings.host_blocks,
                block_bytes=settings.block_bytes,
            )
    return scheduler


def _result(sampled: dict[str, list[int]]) -> Any:
    from stream2llm_engine.vllm_adapter.modelless import runner_output

    return runner_output(sampled)
