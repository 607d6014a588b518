"""Random sequences of everything a client and an engine can do, on tiny pools."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from tests.engine.harness import STEEP, SchedulerHarness

if TYPE_CHECKING:
    from stream2llm_engine.preemption import PreemptionMode
    from stream2llm_profiles import HardwareProfile

# Few distinct tokens, so that prefixes are shared and come back.
TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=90)
SHORT = st.lists(st.integers(0, 3), max_size=20)
LIMIT = 200
TENANTS = st.sampled_from(["default", "a", "b"])
PRIORITIES = st.sampled_from([0, 0, 0, -1, 1])


class SchedulerMachine(RuleBasedStateMachine):
    """Every rule is one thing that can happen between two steps, or one step."""

    sessions: Bundle[str] = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.harness = SchedulerHarness()
        self.count = 0

    @initialize(
        blocks=st.integers(16, 40),
        token_budget=st.sampled_from([16, 40, 128]),
        slots=st.integers(1, 6),
        prefix_caching=st.booleans(),
        asynchronous=st.booleans(),
        policy=st.sampled_from(["fcfs", "lcas", "mcps", "srpt"]),
        preemption=st.sampled_from(["recompute", "swap", "auto"]),
        host_blocks=st.integers(1, 60),
        weights=st.sampled_from([{}, {"a": 4.0}]),
        fair_share=st.booleans(),
        isolated=st.booleans(),
        profile=st.sampled_from([None, STEEP]),
    )
    def build(
        self,
        blocks: int,
        token_budget: int,
        slots: int,
        *,
        prefix_caching: bool,
        asynchronous: bool,
        policy: str,
        preemption: PreemptionMode,
        host_blocks: int,
        weights: dict[str, float],
        fair_share: bool,
        isolated: bool,
        profile: HardwareProfile | None,
    ) -> None:
        self.harness = SchedulerHarness(
            blocks=blocks,
            token_budget=token_budget,
            slots=slots,
            prefix_caching=prefix_caching,
            max_model_len=256,
            asynchronous=asynchronous,
            policy=policy,
            preemption=preemption,
            host_blocks=host_blocks,
            weights=weights,
            fair_share=fair_share,
            isolated=isolated,
            profile=profile,
        )

    def name(self) -> str:
        self.count += 1
        return f"r{self.count}"

    @rule(target=sessions, tokens=TOKENS, tenant=TENANTS, priority=PRIORITIES)
    def open(self, tokens: list[int], tenant: str, priority: int) -> str:
        name = self.name()
        self.harness.open_session(name, tokens, tenant=tenant, priority=priority)
        return name

    @rule(session=sessions, tokens=TOKENS)
    def append(self, session: str, tokens: list[int]) -> None:
        if len(self.harness.prompts[session]) + len(tokens) <= LIMIT:
            self.harness.append(session, tokens)

    @rule(session=sessions, keep=st.integers(0, LIMIT), tokens=TOKENS)
    def update(self, session: str, keep: int, tokens: list[int]) -> None:
        new = (self.harness.prompts[session][:keep] + tokens)[:LIMIT]
        self.harness.update(session, new)

    @rule(session=consumes(sessions), tokens=SHORT, max_tokens=st.integers(1, 12))
    def finalize(self, session: str, tokens: list[int], max_tokens: int) -> None:
        self.harness.finalize(session, tokens, max_tokens=max_tokens)

    @rule(session=consumes(sessions))
    def abort(self, session: str) -> None:
        self.harness.abort(session)

    @rule(tokens=TOKENS, max_tokens=st.integers(1, 30), tenant=TENANTS, priority=PRIORITIES)
    def ordinary(self, tokens: list[int], max_tokens: int, tenant: str, priority: int) -> None:
        self.harness.ordinary(
            self.name(), tokens, max_tokens=max_tokens, tenant=tenant, priority=priority
        )

    @rule(steps=st.integers(1, 6))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.harness.step()

    @rule(index=st.integers(0, 9), blocks=st.integers(1, 12))
    def evict(self, index: int, blocks: int) -> None:
        requests = sorted(self.harness.scheduler.requests)
        if requests:
            self.harness.evict(requests[index % len(requests)], blocks)

    @rule(delay=st.integers(0, 3), out_fails=st.booleans(), back_fails=st.booleans())
    def copies(self, delay: int, *, out_fails: bool, back_fails: bool) -> None:
        swap = self.harness.swap
        swap.delay, swap.out_fails, swap.back_fails = delay, out_fails, back_fails

    @rule(seconds=st.sampled_from([0.01, 1.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.harness.now_s += seconds

    @rule()
    def deliver(self) -> None:
        self.harness.deliver()

    @rule()
    def reset_prefix_cache(self) -> None:
        done = self.harness.scheduler.reset_prefix_cache(reset_running_requests=True)
        # Blocks that a copy back is writing cannot be forgotten yet.
        assert done or self.harness.scheduler._swap.busy

    @invariant()
    def consistent(self) -> None:
        self.harness.check()

    def teardown(self) -> None:
        for session in sorted(self.harness.open):
            self.harness.finalize(session, [1])
        self.harness.run(limit=3000)
        while self.harness._in_flight:
            self.harness.deliver()
        self.harness.check_drained()


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.pytestmark = [pytest.mark.timeout(3600)]  # type: ignore[attr-defined]
# A longer search is one variable away: STREAM2LLM_EXAMPLES=50000.
TestSchedulerMachine.settings = settings(
    max_examples=int(os.environ.get("STREAM2LLM_EXAMPLES", "2000")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
