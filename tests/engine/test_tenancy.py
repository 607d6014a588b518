"""Limits, the queue, priorities and isolation of tenants, on a real engine."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from stream2llm_engine import (
    DeadlineExceededError,
    EngineConfig,
    EngineDeadError,
    PromptTooLongError,
    SessionLimitError,
    StreamEngine,
)
from stream2llm_engine.admission import Admission
from stream2llm_engine.wire import Progress
from tests.engine.test_session import greedy, ids_of, settled, tokens

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.engine


@pytest.fixture
def limit(engine: StreamEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Admission]:
    """Give the engine other limits for one test."""

    def set_limits(**limits: Any) -> Admission:
        gate = Admission(EngineConfig(model="m", **limits))
        monkeypatch.setattr(engine, "_admission", gate)
        return gate

    return set_limits


@pytest.mark.parametrize("how", ["finalize", "abort", "leave", "drop", "expire", "engine"])
def test_whoever_waits_gets_the_place_of_a_session_that_ends(
    engine: StreamEngine, limit: Callable[..., Admission], how: str
) -> None:
    gate = limit(max_open_sessions=1, admission_queue=1)

    async def scenario() -> None:
        deadline_s = 0.2 if how == "expire" else None
        first = await engine.open_session(tokens(40), deadline_s=deadline_s)
        waiting = asyncio.create_task(engine.open_session(tokens(20)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        if how == "finalize":
            assert len(await ids_of(first.finalize((), greedy()))) == 4
        elif how == "abort":
            await first.abort()
        elif how == "leave":
            async with first:
                pass
        elif how == "drop":
            del first
            gc.collect()
        elif how == "engine":
            first._on_progress(Progress(session_id=first.id, error="made up"))
        async with await asyncio.wait_for(waiting, 10) as second:
            assert len(await ids_of(second.finalize((), greedy()))) == 4
        await settled(engine)
        assert gate.open_sessions == 0

    engine.run(scenario())


def test_a_call_that_cannot_succeed_takes_no_place(
    engine: StreamEngine, limit: Callable[..., Admission]
) -> None:
    gate = limit(max_open_sessions=1, admission_queue=1)

    async def scenario() -> None:
        async with await engine.open_session(tokens(10)):
            # At once, not after waiting.
            with pytest.raises(PromptTooLongError):
                await engine.open_session(tokens(engine.max_prompt_tokens + 1))
            with pytest.raises(DeadlineExceededError, match="no session was open"):
                await engine.open_session(tokens(10), deadline_s=0.05)
            assert gate.waiting == 0
        assert gate.open_sessions == 0

    engine.run(scenario())


def test_tokens_of_a_tenant(engine: StreamEngine, limit: Callable[..., Admission]) -> None:
    gate = limit(tenant_max_tokens=100)

    async def scenario() -> None:
        session = await engine.open_session(tokens(60), tenant="a")
        with pytest.raises(SessionLimitError, match="tenant_max_tokens"):
            await engine.open_session(tokens(41), tenant="a")
        for operation in (session.append, session.update):
            with pytest.raises(SessionLimitError, match="tenant_max_tokens"):
                await operation(tokens(101))
        assert session.prompt_token_ids == tokens(60)
        await session.update(tokens(100))
        # The question does not count: the session is not open any more.
        assert len(await ids_of(session.finalize(tokens(20, 1), greedy()))) == 4
        assert not gate._tokens

    engine.run(scenario())


def test_an_engine_that_died_fails_who_waits(
    engine: StreamEngine, limit: Callable[..., Admission]
) -> None:
    gate = limit(max_open_sessions=1, admission_queue=1)

    async def scenario() -> None:
        async with await engine.open_session(tokens(10)):
            waiting = asyncio.create_task(engine.open_session())
            await asyncio.sleep(0.01)
            gate.close(EngineDeadError("gone"))
            with pytest.raises(EngineDeadError, match="gone"):
                await waiting

    engine.run(scenario())


def test_isolated_tenants_share_no_cached_prefix(
    engine: StreamEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._backend, "_isolates_tenants", True)

    async def reused(tenant: str) -> tuple[int, list[int]]:
        session = await engine.open_session(tokens(320, 60), tenant=tenant)
        answer = await ids_of(session.finalize((), greedy()))
        return session.stats.reused_tokens, answer

    async def scenario() -> None:
        await engine.reset_prefix_cache()
        first, answer = await reused("a")
        other, same = await reused("b")
        again, _ = await reused("a")
        assert (first, other) == (0, 0)
        assert again >= 288
        assert same == answer
        before = (await engine.stats()).tokens["computed"]
        assert await ids_of(engine.generate(tokens(320, 60), greedy(), tenant="b")) == answer
        assert (await engine.stats()).tokens["computed"] - before < 64
        assert await ids_of(engine.generate(tokens(320, 60), greedy(), tenant="c")) == answer
        assert (await engine.stats()).tokens["computed"] - before > 320

    engine.run(scenario())


def test_figures_by_tenant(engine: StreamEngine) -> None:
    async def scenario() -> None:
        async with await engine.open_session(tokens(64, 70), tenant="figures") as session:
            await session.wait_prefilled()
            assert (await engine.stats()).tenants["figures"].open_sessions == 1
        await ids_of(engine.generate(tokens(40, 71), greedy(5), tenant="figures"))
        await settled(engine)
        figures = (await engine.stats()).tenants["figures"]
        assert figures.open_sessions == 0
        assert figures.prefill_tokens == 63 + 40
        assert figures.decode_tokens == 4

    engine.run(scenario())


def test_a_priority_reaches_the_scheduler(engine: StreamEngine) -> None:
    async def scenario() -> None:
        async with await engine.open_session(tokens(40), priority=-3) as session:
            await session.wait_prefilled()
            assert engine._backend is not None
            core: Any = engine._backend._core
            scheduler = core._engine.engine_core.engine_core.scheduler
            assert scheduler.requests[session.id].priority == -3

    engine.run(scenario())
