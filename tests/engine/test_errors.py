"""Bad input gets a typed error that says what to do, and costs nobody else anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from stream2llm_engine import (
    DeadlineExceededError,
    EngineConfig,
    EngineConfigError,
    EngineDeadError,
    InvalidRequestError,
    PromptTooLongError,
    SamplingParams,
    SessionClosedError,
    SessionLimitError,
    SessionTimeoutError,
    Stream2LLMError,
    StreamEngine,
    UnsupportedFeatureError,
)
from stream2llm_engine.admission import Admission
from tests.engine.test_session import settled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.engine


def test_wrong_tokens(engine: StreamEngine) -> None:
    async def scenario() -> None:
        async with await engine.open_session([5, 6, 7]) as session:
            wrong: list[tuple[Any, str]] = [
                ([], "at least one token"),
                ([5, -1], "outside the vocabulary"),
                ([5, 10**6], "outside the vocabulary"),
                (["a"], "flat sequence of integers"),
                ([[5], [6]], "flat sequence of integers"),
                ([1.5], "flat sequence of integers"),
            ]
            for bad, match in wrong:
                for operation in (session.append, session.update):
                    with pytest.raises(InvalidRequestError, match=match):
                        await operation(bad)
            assert session.prompt_token_ids == [5, 6, 7]

    engine.run(scenario())


def test_too_long(engine: StreamEngine) -> None:
    limit = engine.max_prompt_tokens

    async def scenario() -> None:
        with pytest.raises(PromptTooLongError, match=f"at most {limit}"):
            await engine.open_session([5] * (limit + 1))
        async with await engine.open_session([5] * 1000) as session:
            with pytest.raises(PromptTooLongError, match="send fewer documents"):
                await session.append([5] * 100)
            with pytest.raises(PromptTooLongError):
                session.finalize([5] * 100)
            assert session.state == "open"
            await session.append([5] * (limit - 1000))
        with pytest.raises(PromptTooLongError):
            await anext(engine.generate([5] * (limit + 1)))

    engine.run(scenario())


def test_closed_session(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session([5, 6])
        stream = session.finalize((), SamplingParams(max_tokens=1))
        operations: list[Callable[[], Awaitable[None]]] = [
            lambda: session.append([5]),
            lambda: session.update([5]),
            session.wait_prefilled,
        ]
        for operation in operations:
            with pytest.raises(SessionClosedError, match="open a new session"):
                await operation()
        with pytest.raises(SessionClosedError, match="it was finalized"):
            session.finalize()
        assert [out async for out in stream]
        aborted = await engine.open_session([5, 6])
        await aborted.abort()
        with pytest.raises(SessionClosedError, match="it was aborted"):
            await aborted.append([5])

    engine.run(scenario())


def test_empty_prompts(engine: StreamEngine) -> None:
    async def scenario() -> None:
        async with await engine.open_session() as session:
            with pytest.raises(InvalidRequestError, match="empty prompt"):
                session.finalize()
        prompts: list[Any] = [[], ""]
        for prompt in prompts:
            with pytest.raises(InvalidRequestError, match="empty"):
                await anext(engine.generate(prompt))
        with pytest.raises(UnsupportedFeatureError):
            await anext(engine.generate({"prompt_embeds": None}))

    engine.run(scenario())


def test_lora_needs_an_engine_that_has_it(engine: StreamEngine) -> None:
    from vllm.lora.request import LoRARequest

    async def scenario() -> None:
        with pytest.raises(InvalidRequestError, match="enable_lora"):
            await engine.open_session([5], lora=LoRARequest("x", 1, "/no/such/adapter"))
        with pytest.raises(InvalidRequestError, match="LoRARequest"):
            await engine.open_session([5], lora="x")

    engine.run(scenario())


def test_deadline(engine: StreamEngine) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidRequestError, match="deadline_s"):
            await engine.open_session([5], deadline_s=0)
        parked = await engine.open_session([5, 6, 7], deadline_s=0.2)
        answering = await engine.open_session([5, 6, 7], deadline_s=0.2)
        stream = answering.finalize(
            (), SamplingParams(max_tokens=1000, ignore_eos=True, temperature=0.0)
        )

        async def append_for_ever() -> None:
            while True:
                await parked.append([5])
                await asyncio.sleep(0.02)

        async def read_to_the_end() -> None:
            async for _ in stream:
                pass

        for doomed in (append_for_ever(), read_to_the_end()):
            with pytest.raises(DeadlineExceededError, match=r"deadline of 0\.2 s"):
                await asyncio.wait_for(doomed, 20)
        assert (parked.state, answering.state) == ("failed", "failed")
        await engine.stats()

    engine.run(scenario())


def test_idle_time_out(
    engine: StreamEngine, monkeypatch: pytest.MonkeyPatch, tiny_llama: Path
) -> None:
    config = EngineConfig(model=str(tiny_llama), session_idle_timeout_s=0.3)
    monkeypatch.setattr(engine, "config", config)

    async def scenario() -> None:
        idle = await engine.open_session([5] * 40)
        busy = await engine.open_session([5] * 40)
        final = await engine.open_session([5] * 40)
        stream = final.finalize((), SamplingParams(max_tokens=2))
        for _ in range(8):
            await asyncio.sleep(0.1)
            await busy.append([6])
        with pytest.raises(SessionTimeoutError, match="session_idle_timeout_s") as caught:
            await idle.append([6])
        assert not isinstance(caught.value, DeadlineExceededError)
        assert [out async for out in stream]
        await busy.abort()

    engine.run(scenario())


def test_session_token_cap(
    engine: StreamEngine, monkeypatch: pytest.MonkeyPatch, tiny_llama: Path
) -> None:
    config = EngineConfig(model=str(tiny_llama), max_session_tokens=50)
    monkeypatch.setattr(engine, "config", config)

    async def scenario() -> None:
        async with await engine.open_session([5] * 50) as session:
            with pytest.raises(PromptTooLongError, match="max_session_tokens"):
                await session.append([5])

    engine.run(scenario())


def test_a_session_that_vllm_ended_on_its_own(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session([5] * 40)
        await session.wait_prefilled()
        assert engine._backend is not None
        core: Any = engine._backend._core
        core._engine.engine_core.abort_requests([session.id])
        stream = session.finalize([6], SamplingParams(max_tokens=3))
        with pytest.raises(Stream2LLMError, match="send the request again"):
            await asyncio.wait_for(anext(stream), 5)
        assert session.state == "failed"
        await settled(engine)
        assert not core._engine.output_processor.request_states

    engine.run(scenario())


def test_session_limit(
    engine: StreamEngine, monkeypatch: pytest.MonkeyPatch, tiny_llama: Path
) -> None:
    config = EngineConfig(model=str(tiny_llama), max_open_sessions=2)
    monkeypatch.setattr(engine, "_admission", Admission(config))

    async def scenario() -> None:
        sessions = [await engine.open_session([5]) for _ in range(2)]
        with pytest.raises(SessionLimitError, match="max_open_sessions"):
            await engine.open_session([5])
        await sessions[0].abort()
        await (await engine.open_session([5])).abort()
        await sessions[1].abort()

    engine.run(scenario())


def test_a_second_engine_in_the_process(engine: StreamEngine, tiny_llama: Path) -> None:
    second = StreamEngine(EngineConfig(model=str(tiny_llama)))

    async def scenario() -> None:
        with pytest.raises(EngineConfigError, match="another StreamEngine is running"):
            await second.start()

    engine.run(scenario())


def test_run_from_its_own_loop(engine: StreamEngine) -> None:
    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="await the coroutine"):
            engine.run(engine.stats())

    engine.run(scenario())


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"model": ""}, "model"),
        ({"model": "m", "policy": "best"}, "policy"),
        ({"model": "m", "polcy": "fcfs"}, "polcy"),
        ({"model": "m", "vllm": {"scheduler_cls": "x"}}, "plug-in itself"),
        ({"model": "m", "max_open_sessions": 0}, "max_open_sessions"),
        ({"model": "m", "tenant_weights": {"a": 0}}, "tenant_weights"),
        ({"model": "m", "tenant_max_tokens": {"a": -1}}, "tenant_max_tokens"),
        ({"model": "m", "admission_queue": -1}, "admission_queue"),
        ({}, "model"),
    ],
)
def test_wrong_configuration(values: dict[str, Any], match: str) -> None:
    with pytest.raises(EngineConfigError, match=match):
        EngineConfig(**values)


def test_without_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    engine = StreamEngine(EngineConfig(model="anything"))
    with pytest.raises(EngineConfigError, match="pip install"):
        asyncio.run(engine.start())
    engine.close()


def test_before_start() -> None:
    engine = StreamEngine(EngineConfig(model="anything"))
    with pytest.raises(EngineDeadError, match="start"):
        _ = engine.tokenizer
    engine.close()

    async def scenario() -> None:
        with pytest.raises(EngineDeadError, match="closed"):
            await engine.start()

    asyncio.run(scenario())
