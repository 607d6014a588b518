"""Sessions on vLLM's own core process: every session test again, and what only it has."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from stream2llm_engine import EngineConfig, EngineDeadError, SamplingParams, StreamEngine
from tests.engine import test_session
from tests.engine.conftest import small_engine_config
from tests.engine.test_session import greedy, ids_of, settled, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

globals().update(
    {name: test for name, test in vars(test_session).items() if name.startswith("test_")}
)


@pytest.fixture(scope="module")
def process_engine(tiny_llama: Path) -> Iterator[StreamEngine]:
    """One engine for the module; the last test kills its core."""
    config = small_engine_config(tiny_llama).model_dump() | {"in_process": False}
    engine = StreamEngine(EngineConfig(**config))
    engine.run(engine.start())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def engine(process_engine: StreamEngine) -> StreamEngine:
    return process_engine


def core_pid(engine: StreamEngine) -> int:
    assert engine._backend is not None
    core: Any = engine._backend._core
    (process,) = core._engine.client.resources.engine_manager.processes
    return int(process.pid)


def test_the_core_is_another_process(engine: StreamEngine) -> None:
    assert core_pid(engine) != os.getpid()
    assert engine.max_prompt_tokens == 1023


def test_the_secret_is_not_in_what_vllm_prints(engine: StreamEngine) -> None:
    assert engine._backend is not None
    core: Any = engine._backend._core
    config = core._engine.client.vllm_config
    assert engine._backend._secret not in f"{config!r} {config} {config.additional_config}"


def test_a_failed_operation_ends_its_session_only(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(40))
        other = await engine.open_session(tokens(40, 1))
        # Nothing a facade would send: the session stays as it is, and so does the core.
        session._send("append", [])  # type: ignore[arg-type]
        await other.wait_prefilled()
        assert len(await ids_of(other.finalize((), greedy()))) == 4
        assert len(await ids_of(session.finalize((), greedy()))) == 4

    engine.run(scenario())


def test_stop_strings_end_an_answer_in_the_core_too(engine: StreamEngine) -> None:
    async def scenario() -> None:
        prompt = tokens(60, 4)
        free = [out async for out in engine.generate(prompt, greedy(20))]
        text = "".join(out.text for out in free)
        stop = text[2:4]
        session = await engine.open_session(prompt)
        params = SamplingParams(max_tokens=900, temperature=0.0, ignore_eos=True, stop=[stop])
        outputs = [out async for out in session.finalize((), params)]
        assert outputs[-1].finish_reason == "stop"
        assert outputs[-1].stop_reason == stop
        assert "".join(out.text for out in outputs) == text[: text.index(stop)]
        await settled(engine)
        assert (await engine.stats()).running == 0

    engine.run(scenario())


async def one_of_many(
    engine: StreamEngine, seed: int, slots: asyncio.Semaphore
) -> tuple[list[int], list[int]] | None:
    """Do something random with a session; return its prompt and answer unless it was left."""
    generator = random.Random(seed)
    async with slots, await engine.open_session(tokens(generator.randint(1, 150), seed % 7)) as own:
        for _ in range(generator.randrange(4)):
            part = tokens(generator.randint(1, 150), generator.randrange(7))
            if generator.random() < 0.5:
                await own.append(part)
            else:
                await own.update(own.prompt_token_ids[: generator.randrange(200)] + part)
            how = generator.random()
            if how < 0.2:
                with suppress(TimeoutError):
                    await asyncio.wait_for(own.wait_prefilled(), 0.2)
            elif how < 0.3:
                return None
        stream = own.finalize(tokens(3, 5), greedy())
        prompt = own.prompt_token_ids
        if generator.random() < 0.15:
            await anext(stream)
            return None
        return prompt, await ids_of(stream)


def test_three_hundred_sessions_at_random_equal_one_shot(engine: StreamEngine) -> None:
    async def scenario() -> None:
        slots = asyncio.Semaphore(40)
        async with asyncio.timeout(120):
            results = await asyncio.gather(
                *(one_of_many(engine, seed, slots) for seed in range(300))
            )
        answered = [result for result in results if result is not None]
        assert len(answered) > 150
        await engine.reset_prefix_cache()
        for prompt, answer in answered[::10]:
            assert await ids_of(engine.generate(prompt, greedy())) == answer
        await settled(engine)

    engine.run(scenario())
    assert sum(engine.run(engine.stats()).preemptions.values()) > 0


def test_a_killed_core_reaches_everyone(process_engine: StreamEngine) -> None:
    """Keep this one last: it ends the module's engine."""
    engine = process_engine

    async def drain(iterator: object) -> None:
        async for _ in iterator:  # type: ignore[attr-defined]
            pass

    async def scenario() -> None:
        parked = await engine.open_session([7, 8, 9])
        await parked.wait_prefilled()
        stream = (await engine.open_session([5] * 40)).finalize((), greedy(900))
        await anext(stream)
        ordinary = engine.generate([5] * 30, greedy(900))
        await anext(ordinary)
        consumers = [asyncio.create_task(drain(iterator)) for iterator in (stream, ordinary)]
        waiter = asyncio.create_task((await engine.open_session([5] * 900)).wait_prefilled())
        await asyncio.sleep(0)
        os.kill(core_pid(engine), signal.SIGKILL)
        asked = asyncio.create_task(engine.stats())
        for task in (*consumers, waiter, asked):
            with pytest.raises(EngineDeadError, match="start a new one"):
                await asyncio.wait_for(task, 5)
        for call in (lambda: parked.append([1]), parked.wait_prefilled, engine.stats):
            with pytest.raises(EngineDeadError, match="start a new one"):
                await asyncio.wait_for(call(), 5)
        await parked.abort()
        assert parked.state == "failed"

    engine.run(scenario())
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 20
