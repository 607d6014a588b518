"""Starting, closing and dying; each test here has an engine of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from stream2llm_engine import (
    EngineConfig,
    EngineConfigError,
    EngineDeadError,
    SamplingParams,
    StreamEngine,
)
from tests.engine.conftest import small_engine_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("model", "vllm"),
    [
        ("no-such-directory/no-such-model", {}),
        (None, {"no_such_argument": 1}),
        (None, {"max_model_len": 10**7}),
    ],
)
async def test_what_cannot_start_says_why(
    tiny_llama: Path, model: str | None, vllm: dict[str, int]
) -> None:
    engine = StreamEngine(EngineConfig(model=model or str(tiny_llama), vllm=vllm))
    with pytest.raises(EngineConfigError, match="could not start"):
        await engine.start()
    await engine.aclose()


async def test_two_engines_one_after_the_other(tiny_llama: Path) -> None:
    answers = []
    for _ in range(2):
        async with StreamEngine(small_engine_config(tiny_llama)) as engine:
            session = await engine.open_session([7, 8, 9] * 10)
            params = SamplingParams(max_tokens=3, temperature=0.0)
            answers.append([t async for out in session.finalize((), params) for t in out.token_ids])
    assert answers[0] == answers[1]


async def test_close_with_open_sessions(tiny_llama: Path) -> None:
    engine = StreamEngine(small_engine_config(tiny_llama))
    # The first use starts it.
    session = await engine.open_session([7, 8, 9] * 10)
    waiting = await engine.open_session([7] * 900)
    waiter = asyncio.create_task(waiting.wait_prefilled())
    stream = (await engine.open_session([9] * 50)).finalize((), SamplingParams(max_tokens=900))
    await asyncio.sleep(0)
    await engine.aclose()
    await engine.aclose()

    async def drain() -> None:
        async for _ in stream:
            pass

    for call in (session.append([1]), waiter, drain(), engine.stats()):
        with pytest.raises(EngineDeadError, match="start a new one"):
            await call
    assert session.state == "failed"


async def test_a_dead_core_reaches_everyone(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StreamEngine(small_engine_config(tiny_llama)) as engine:
        parked = await engine.open_session([7, 8, 9])
        await parked.wait_prefilled()
        answering = await engine.open_session([5] * 40)
        stream = answering.finalize((), SamplingParams(max_tokens=900, ignore_eos=True))
        await anext(stream)
        ordinary = engine.generate([5] * 30, SamplingParams(max_tokens=900, ignore_eos=True))
        await anext(ordinary)

        def broken(*_: object, **__: object) -> None:
            msg = "the device is gone"
            raise RuntimeError(msg)

        assert engine._backend is not None
        core: Any = engine._backend._core
        executor = core._engine.engine_core.engine_core.model_executor
        monkeypatch.setattr(executor, "execute_model", broken)

        async def drain(iterator: object) -> None:
            async for _ in iterator:  # type: ignore[attr-defined]
                pass

        for consumer in (stream, ordinary):
            with pytest.raises(EngineDeadError, match="the device is gone"):
                await asyncio.wait_for(drain(consumer), 5)
        for call in (
            lambda: parked.append([1]),
            parked.wait_prefilled,
            lambda: engine.open_session([1]),
            engine.stats,
        ):
            with pytest.raises(EngineDeadError, match="start a new one"):
                await asyncio.wait_for(call(), 5)
        await parked.abort()
        assert (parked.state, answering.state) == ("failed", "failed")
