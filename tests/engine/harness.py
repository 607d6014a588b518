"""Drives the real scheduler and KV cache manager without a model."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from vllm.v1.request import RequestStatus

from stream2llm_engine.planner import StepPlan
from stream2llm_engine.vllm_adapter.integrity import find_violations
from stream2llm_engine.vllm_adapter.modelless import (
    build_scheduler,
    modelless_request,
    request_hasher,
)
from stream2llm_engine.vllm_adapter.scheduler import StreamScheduler
from stream2llm_engine.wire import Operation, OperationKind
from stream2llm_profiles import HardwareProfile, PrefillCost, SwapCost
from tests.engine.shadow_runner import ShadowRunner, next_token
from tests.engine.shadow_swap import ShadowSwap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream2llm_engine.preemption import PreemptionMode

__all__ = ["STEEP", "SchedulerHarness"]

BLOCK_SIZE = 16
SECRET = "test-secret"
# Attention costs as much as all else, and copies cost next to nothing.
STEEP = HardwareProfile(
    name="steep",
    source="analytic",
    method="made up",
    hardware="none",
    model="none",
    tensor_parallel=1,
    request_overhead_s=0.0,
    kv_bytes_per_token=1,
    kv_pool_tokens=640,
    prefill=PrefillCost(step_overhead_s=1e-3, token_s=1e-3, token_context_s=1e-5),
    swap=SwapCost(fixed_s=0.0, block_out_s=1e-6, block_in_s=1e-6, block_tokens=BLOCK_SIZE),
)

_HASHER = request_hasher(BLOCK_SIZE)


class SchedulerHarness:
    """One scheduler with a shadow runner, and the client's view of its sessions.

    Args:
        blocks: KV blocks of 16 tokens, one of which vLLM keeps for itself.
        token_budget: Tokens a step may compute.
        slots: Requests the runner can hold.
        prefix_caching: Whether vLLM caches prefixes.
        asynchronous: Schedule a step before the results of the one before it are known, and keep
            requests in slots as the V2 model runner does; what vLLM does on GPUs.
        policy: A policy's name or import path.
        profile: Prices of the hardware.
        preemption: What happens to the KV of a victim.
        host_blocks: KV blocks that host memory may hold.
        weights: Shares of the tenants.
        fair_share: Whether tenants take turns.
        isolated: Whether tenants share no cached prefix.
    """

    def __init__(
        self,
        *,
        blocks: int = 40,
        token_budget: int = 128,
        slots: int = 8,
        prefix_caching: bool = True,
        max_model_len: int = 512,
        asynchronous: bool = False,
        policy: str = "fcfs",
        profile: HardwareProfile | None = None,
        preemption: PreemptionMode = "recompute",
        host_blocks: int = 0,
        weights: dict[str, float] | None = None,
        fair_share: bool = True,
        isolated: bool = False,
    ) -> None:
        self.scheduler: Any = build_scheduler(
            StreamScheduler,
            blocks=blocks,
            block_size=BLOCK_SIZE,
            token_budget=token_budget,
            max_requests=slots,
            max_model_len=max_model_len,
            prefix_caching=prefix_caching,
            asynchronous=asynchronous,
        )
        self.scheduler.configure_streams(
            secret=SECRET,
            policy=policy,
            profile=profile,
            tenant_weights=weights,
            fair_share=fair_share,
        )
        self.isolated = isolated
        self.scheduler.use_v2_model_runner = asynchronous
        self.now_s = 1000.0
        self.scheduler.clock = lambda: self.now_s
        self.scheduler.configure_swap(preemption=preemption, host_blocks=host_blocks, block_bytes=1)
        self.runner = ShadowRunner(BLOCK_SIZE, slots=slots if asynchronous else None)
        self.swap = ShadowSwap(self.runner, BLOCK_SIZE)
        self.depth = 2 if asynchronous else 1
        self._in_flight: deque[tuple[Any, Any]] = deque()
        self.prompts: dict[str, list[int]] = {}
        self.open: set[str] = set()
        self.asked: dict[str, int] = {}
        self.answers: dict[str, list[int]] = {}
        self.finished: set[str] = set()
        self._sequence: dict[str, int] = {}
        self._fruitless = 0

    # -- what a client does ----------------------------------------------------------------------

    def send(
        self,
        kind: OperationKind,
        request_id: str,
        tokens: Sequence[int],
        *,
        max_tokens: int = 1,
        secret: str = SECRET,
        tenant: str = "default",
        priority: int = 0,
    ) -> None:
        """Send one operation, as the facade would."""
        self._sequence[request_id] = self._sequence.get(request_id, 0) + 1
        operation = Operation(
            kind=kind,
            sequence=self._sequence[request_id],
            secret=secret,
            empty=not tokens,
            tenant=tenant,
            priority=priority,
        )
        self._add(request_id, tokens or [0], max_tokens, operation.encode(), tenant)

    def open_session(
        self,
        request_id: str,
        tokens: Sequence[int],
        *,
        tenant: str = "default",
        priority: int = 0,
    ) -> None:
        self.prompts[request_id] = list(tokens)
        self.open.add(request_id)
        self.send(OperationKind.OPEN, request_id, tokens, tenant=tenant, priority=priority)

    def append(self, request_id: str, tokens: Sequence[int]) -> None:
        self.prompts[request_id] = self.prompts[request_id] + list(tokens)
        self.send(OperationKind.APPEND, request_id, tokens)

    def update(self, request_id: str, tokens: Sequence[int]) -> None:
        self.prompts[request_id] = list(tokens)
        self.send(OperationKind.UPDATE, request_id, tokens)

    def finalize(self, request_id: str, tokens: Sequence[int] = (), *, max_tokens: int = 3) -> None:
        self.prompts[request_id] = self.prompts[request_id] + list(tokens)
        self.open.discard(request_id)
        self.asked[request_id] = max_tokens
        self.answers[request_id] = []
        self.send(OperationKind.FINALIZE, request_id, tokens, max_tokens=max_tokens)

    def ordinary(
        self,
        request_id: str,
        tokens: Sequence[int],
        *,
        max_tokens: int = 3,
        tenant: str | None = None,
        priority: int = 0,
    ) -> None:
        self.prompts[request_id] = list(tokens)
        self.asked[request_id] = max_tokens
        self.answers[request_id] = []
        extra_args = None
        if tenant is not None:
            whose = Operation(kind=OperationKind.GENERATE, sequence=0, secret=SECRET, tenant=tenant)
            extra_args = whose.encode()
        self._add(request_id, tokens, max_tokens, extra_args, tenant or "default", priority)

    def abort(self, request_id: str) -> None:
        self.open.discard(request_id)
        self.asked.pop(request_id, None)
        self.scheduler.finish_requests(request_id, RequestStatus.FINISHED_ABORTED)

    def _add(
        self,
        request_id: str,
        tokens: Sequence[int],
        max_tokens: int,
        extra_args: Any,
        tenant: str,
        priority: int = 0,
    ) -> None:
        self.scheduler.add_request(
            modelless_request(
                request_id,
                list(tokens),
                arrival_s=self.now_s,
                max_tokens=max_tokens,
                extra_args=extra_args,
                hasher=_HASHER,
                priority=priority,
                cache_salt=tenant if self.isolated else None,
            )
        )

    # -- what the engine does --------------------------------------------------------------------

    def step(self) -> dict[str, int]:
        """Schedule, "compute" and take the results; return the tokens scheduled by request."""
        output = self.scheduler.schedule()
        if self.scheduler._swap is not None:
            self.swap.start(self.scheduler._swap.take_copies())
        result = self.runner.execute(output)
        for request_id, sampled in zip(result.req_ids, result.sampled_token_ids, strict=True):
            if sampled and request_id in self.open:
                self.runner.violations.append(f"{request_id} was sampled while open")
        waits = any(i not in self.finished for i in self.asked)
        waits = waits and not (self.scheduler._swap is not None and self.scheduler._swap.busy)
        self._fruitless = self._fruitless + 1 if waits and not output.num_scheduled_tokens else 0
        if self._fruitless > self.depth + 1:
            self.runner.violations.append("a final prompt is left and nothing is scheduled")
        self._in_flight.append((output, result))
        while len(self._in_flight) >= self.depth:
            self.deliver()
        return dict(output.num_scheduled_tokens)

    def evict(self, request_id: str, blocks: int) -> None:
        """Take tail blocks of a request, as a plan would for another one."""
        self.scheduler._evict(StepPlan(evictions={request_id: blocks}))

    def deliver(self) -> None:
        """Take the results of the oldest step in flight, if there is one."""
        if not self._in_flight:
            return
        output, result = self._in_flight.popleft()
        outputs = self.scheduler.update_from_output(output, result)
        if self.scheduler._swap is not None:
            self.scheduler._on_swap_report(self.swap.report())
        for batch in outputs.values():
            for item in batch.outputs:
                self.answers.setdefault(item.request_id, []).extend(item.new_token_ids)
                if item.finish_reason is not None:
                    self.finished.add(item.request_id)

    def run(self, limit: int = 400) -> int:
        """Step until nothing can be scheduled any more; return the number of steps."""
        idle = 0
        for count in range(limit):
            if not self.scheduler.has_requests() and not self._in_flight:
                return count
            if self.scheduler.has_requests():
                busy = self.scheduler._swap is not None and self.scheduler._swap.busy
                idle = 0 if self.step() or busy else idle + 1
            else:
                self.deliver()
            if idle > self.depth:
                return count
        msg = f"still busy after {limit} steps"
        raise AssertionError(msg)

    def computed(self, request_id: str) -> int:
        return int(self.scheduler.requests[request_id].num_computed_tokens)

    def check(self) -> None:
        """Raise if an invariant is broken or an answer is wrong."""
        assert find_violations(self.scheduler) == []
        assert self.runner.violations == []
        assert self.scheduler.stream_stats().preemptions["builtin"] == 0
        for request_id, answer in self.answers.items():
            tokens = list(self.prompts[request_id])
            for token in answer:
                assert token == next_token(tokens), f"{request_id} answered from a wrong prompt"
                tokens.append(token)

    def check_drained(self) -> None:
        """Raise unless everything asked for was answered and every block came back."""
        self.check()
        for request_id, count in self.asked.items():
            assert len(self.answers[request_id]) == count, f"{request_id} was not answered"
        stats = self.scheduler.stream_stats()
        assert not self.scheduler.requests
        assert stats.free_blocks == stats.total_blocks
        if self.scheduler._swap is not None:
            assert not self.scheduler._swap.busy
            space = self.scheduler._swap.space
            assert space.free_blocks == space.total_blocks
