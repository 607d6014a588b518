"""Places for sessions: limits, the queue, and that none is ever lost."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream2llm_engine import (
    DeadlineExceededError,
    EngineConfig,
    EngineDeadError,
    SessionLimitError,
    SessionTimeoutError,
)
from stream2llm_engine.admission import Admission, Seat

TENANTS = "abc"


def admission(**limits: Any) -> Admission:
    return Admission(EngineConfig(model="m", **limits))


def is_empty(gate: Admission) -> bool:
    return not (gate.open_sessions or gate.waiting or gate._sessions or gate._tokens)


async def turn() -> None:
    """Let other tasks go on."""
    for _ in range(4):
        await asyncio.sleep(0)


async def test_without_a_queue_the_limit_is_an_error_that_says_what_to_raise() -> None:
    gate = admission(max_open_sessions=1)
    seat = await gate.enter("a", 5)
    with pytest.raises(SessionLimitError, match="raise max_open_sessions or admission_queue"):
        await gate.enter("a", 5)
    seat.leave()
    seat.leave()
    (await gate.enter("b", 5)).leave()
    assert is_empty(gate)


async def test_who_waits_is_let_in_in_order_and_the_queue_is_bounded() -> None:
    gate = admission(max_open_sessions=1, admission_queue=2)
    first = await gate.enter("a", 0)
    second = asyncio.create_task(gate.enter("b", 0))
    third = asyncio.create_task(gate.enter("c", 0))
    await turn()
    assert gate.waiting == 2
    with pytest.raises(SessionLimitError, match=r"2 callers wait .*admission_queue"):
        await gate.enter("d", 0)
    first.leave()
    await turn()
    assert second.done()
    assert not third.done()
    (await second).leave()
    (await third).leave()
    assert is_empty(gate)


async def test_waiting_ends_at_the_time_out() -> None:
    gate = admission(max_open_sessions=1, admission_queue=1, admission_timeout_s=0.02)
    seat = await gate.enter("a", 0)
    with pytest.raises(SessionLimitError, match="admission_timeout_s"):
        await gate.enter("a", 0)
    with pytest.raises(DeadlineExceededError, match=r"0\.01 s") as caught:
        await gate.enter("a", 0, deadline_s=0.01)
    assert isinstance(caught.value, SessionTimeoutError)
    with pytest.raises(SessionLimitError, match="admission_timeout_s"):
        await gate.enter("a", 0, deadline_s=10.0)
    seat.leave()
    assert is_empty(gate)


async def test_a_caller_that_gives_up_leaves_no_trace() -> None:
    gate = admission(max_open_sessions=1, admission_queue=3)
    seat = await gate.enter("a", 7)
    callers = [asyncio.create_task(gate.enter("a", 7)) for _ in range(3)]
    await turn()
    callers[1].cancel()
    await turn()
    assert gate.waiting == 2
    # Cancelled in the same turn in which it gets the place: the next one gets it.
    seat.leave()
    callers[0].cancel()
    (await callers[2]).leave()
    await asyncio.gather(*callers, return_exceptions=True)
    assert is_empty(gate)


@pytest.mark.parametrize("limit", [2, {"a": 2}])
async def test_a_tenant_has_its_own_limit_of_sessions(limit: int | dict[str, int]) -> None:
    gate = admission(tenant_max_sessions=limit, max_open_sessions=2, admission_queue=5)
    seats = [await gate.enter("a", 0), await gate.enter("b", 0)]
    waiting = asyncio.create_task(gate.enter("a", 0))
    await turn()
    with pytest.raises(SessionLimitError, match=r"tenant 'a' has 2 of 2 .*tenant_max_sessions"):
        await gate.enter("a", 0)
    seats[0].leave()
    seats.append(await waiting)
    for seat in seats:
        seat.leave()
    assert is_empty(gate)


@pytest.mark.parametrize("limit", [100, {"a": 100}])
async def test_a_tenant_has_its_own_limit_of_tokens(limit: int | dict[str, int]) -> None:
    gate = admission(tenant_max_tokens=limit)
    one, other = await gate.enter("a", 60), await gate.enter("a", 30)
    with pytest.raises(SessionLimitError, match=r"would hold 101 prompt tokens, 100 .*raise"):
        await gate.enter("a", 11)
    with pytest.raises(SessionLimitError, match="tenant_max_tokens"):
        one.resize(71)
    assert one.tokens == 60
    one.resize(70)
    one.resize(10)
    (await gate.enter("b", 90)).leave()
    other.resize(90)
    other.leave()
    one.resize(100)
    one.leave()
    one.resize(500)
    assert is_empty(gate)


async def test_a_closed_engine_lets_nobody_in() -> None:
    gate = admission(max_open_sessions=1, admission_queue=2)
    seat = await gate.enter("a", 1)
    waiting = [asyncio.create_task(gate.enter("a", 1)) for _ in range(2)]
    await turn()
    gate.close(EngineDeadError("closed"))
    for caller in waiting:
        with pytest.raises(EngineDeadError, match="closed"):
            await caller
    with pytest.raises(EngineDeadError, match="closed"):
        await gate.enter("b", 1)
    seat.leave()
    assert is_empty(gate)


def test_a_place_goes_from_thread_to_thread_and_loop_to_loop() -> None:
    gate = admission(max_open_sessions=2, admission_queue=100)
    inside: Counter[int] = Counter()
    most: list[int] = []

    async def visit() -> None:
        seat = await gate.enter("a", 3)
        inside[0] += 1
        most.append(gate.open_sessions)
        await asyncio.sleep(0.001)
        inside[0] -= 1
        seat.leave()

    async def visits() -> None:
        await asyncio.wait_for(asyncio.gather(*(visit() for _ in range(10))), 20)

    threads = [threading.Thread(target=lambda: asyncio.run(visits())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 60
    assert max(most) <= 2
    assert is_empty(gate)


def test_a_loop_that_was_closed_takes_no_place() -> None:
    gate = admission(max_open_sessions=1, admission_queue=3)
    outer = asyncio.new_event_loop()
    seat = outer.run_until_complete(gate.enter("a", 0))
    gone = asyncio.new_event_loop()
    lost = gone.create_task(gate.enter("b", 0))
    gone.run_until_complete(turn())
    waiting = outer.create_task(gate.enter("c", 0))
    outer.run_until_complete(turn())
    gone.close()
    seat.leave()
    outer.run_until_complete(asyncio.wait_for(waiting, 5)).leave()
    outer.close()
    assert is_empty(gate)
    lost._log_destroy_pending = False  # type: ignore[attr-defined]


class Dropped:
    """Like a session: whoever drops it gives the place back, in whatever thread that happens."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.itself = self

    def __del__(self) -> None:
        self.seat.leave()


async def test_a_session_may_be_collected_while_the_lock_is_held() -> None:
    gate = admission(max_open_sessions=1, admission_queue=1)
    kept = [Dropped(await gate.enter("a", 0))]
    waiting = asyncio.create_task(gate.enter("b", 0))
    await turn()
    with gate._locked():
        kept.clear()
        gc.collect()
        assert gate._taken == 1
    (await asyncio.wait_for(waiting, 5)).leave()
    assert is_empty(gate)


class AdmissionMachine(RuleBasedStateMachine):
    """Callers come, give up, are timed out and end in any order; places are counted by a model."""

    LIMIT = 3
    QUEUE = 4

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.gate = admission(
            max_open_sessions=self.LIMIT,
            admission_queue=self.QUEUE,
            tenant_max_sessions={"a": 2},
            tenant_max_tokens={"b": 50},
        )
        self.seats: list[Seat] = []
        self.callers: list[asyncio.Task[Seat]] = []

    def settle(self) -> None:
        """Let callers run, and take over what they got."""
        self.loop.run_until_complete(turn())
        for caller in [c for c in self.callers if c.done()]:
            self.callers.remove(caller)
            if not caller.cancelled() and caller.exception() is None:
                self.seats.append(caller.result())

    @rule(tenant=st.sampled_from(TENANTS), tokens=st.integers(0, 30))
    def come(self, tenant: str, tokens: int) -> None:
        self.callers.append(self.loop.create_task(self.gate.enter(tenant, tokens)))

    @rule(tenant=st.sampled_from(TENANTS), deadline_ms=st.integers(1, 3))
    def come_in_a_hurry(self, tenant: str, deadline_ms: int) -> None:
        entering = self.gate.enter(tenant, 1, deadline_ms / 1000)
        self.callers.append(self.loop.create_task(entering))

    # Who is there depends on the time, so no precondition may.

    @rule(index=st.integers(0, 9))
    def give_up(self, index: int) -> None:
        for caller in self.callers[index : index + 1]:
            caller.cancel()

    @rule(index=st.integers(0, 2), again=st.booleans())
    def end(self, index: int, *, again: bool) -> None:
        for seat in self.seats[index : index + 1]:
            self.seats.remove(seat)
            seat.leave()
            if again:
                seat.leave()

    @rule(index=st.integers(0, 2), tokens=st.integers(0, 40))
    def resize(self, index: int, tokens: int) -> None:
        for seat in self.seats[index : index + 1]:
            before = seat.tokens
            try:
                seat.resize(tokens)
            except SessionLimitError:
                assert seat.tokens == before
                assert tokens > before

    @rule()
    def wait(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0.002))

    @rule()
    def run(self) -> None:
        self.settle()

    @invariant()
    def limits_hold(self) -> None:
        assert self.gate.open_sessions <= self.LIMIT
        assert self.gate.waiting <= self.QUEUE
        assert self.gate._sessions["a"] <= 2
        assert self.gate._tokens["b"] <= 50
        assert not (self.gate.waiting and self.gate.open_sessions < self.LIMIT)

    def teardown(self) -> None:
        while self.callers or self.seats:
            self.settle()
            for seat in self.seats:
                seat.leave()
            self.seats.clear()
            for caller in self.callers:
                caller.cancel()
        assert is_empty(self.gate)
        self.loop.close()


TestAdmissionMachine = AdmissionMachine.TestCase
TestAdmissionMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
