"""Whose a question is, how urgent, and what the engine is spared."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from stream2llm_engine import DeadlineExceededError, UnsupportedFeatureError
from stream2llm_rag import Append, ContextReceived, ContextSourceError, StreamingRAG, Update
from stream2llm_rag.sources import from_retriever
from tests.rag.builders import append, documents, update
from tests.rag.pipeline.fake_engine import FakeEngine
from tests.support.virtual_time import run

SAMPLING = SimpleNamespace(max_tokens=16)
RANKINGS: list[Append | Update] = [update(name) for name in "abcdef"]


@pytest.fixture
def engine(chat_tokenizer: PreTrainedTokenizerFast) -> FakeEngine:
    return FakeEngine(chat_tokenizer)


def rag(engine: FakeEngine, source: Any = RANKINGS, **options: Any) -> StreamingRAG:
    return StreamingRAG(engine, from_retriever(source), sampling_params=SAMPLING, **options)


# -- tenant, priority, deadline -------------------------------------------------------------------


async def test_options_of_a_question_go_before_those_of_all(engine: FakeEngine) -> None:
    asked = rag(engine, tenant="gold", priority=2, deadline_s=60)
    await asked.answer("Q?")
    await asked.answer("Q?", tenant="silver", priority=0, deadline_s=30)
    await rag(engine).answer("Q?")
    assert [session.options for session in engine.sessions] == [
        {"tenant": "gold", "priority": 2, "deadline_s": 60},
        {"tenant": "silver", "priority": 0, "deadline_s": 30},
        {"tenant": "default", "priority": 0, "deadline_s": None},
    ]


async def test_a_blocking_question_is_its_tenants_too(engine: FakeEngine) -> None:
    asked = rag(engine, tenant="gold", blocking=True)
    await asked.answer("Q?")
    await asked.answer("Q?", tenant="silver")
    assert engine.tenants == ["gold", "silver"]


async def test_a_blocking_question_with_a_priority_is_refused(engine: FakeEngine) -> None:
    with pytest.raises(UnsupportedFeatureError, match="priority"):
        rag(engine, blocking=True, priority=1)
    with pytest.raises(UnsupportedFeatureError, match="priority"):
        await rag(engine, blocking=True).answer("Q?", priority=-1)
    assert engine.prompts == []


class Hanging:
    """Finds one document, and then nothing."""

    def __init__(self) -> None:
        self.closed = False

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        try:
            yield append("a")
            await asyncio.Event().wait()
        finally:
            self.closed = True


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("by_call", [False, True])
def test_a_deadline_ends_a_retrieval_that_hangs(
    engine: FakeEngine, by_call: bool, blocking: bool
) -> None:
    source = Hanging()

    limit: dict[str, Any] = {"deadline_s": 5}
    of_all, of_call = ({}, limit) if by_call else (limit, {})

    async def scenario() -> float:
        asked = StreamingRAG(engine, source, sampling_params=SAMPLING, blocking=blocking, **of_all)
        with pytest.raises(DeadlineExceededError, match=r"within 5 s.*time_limit"):
            await asked.answer("Q?", **of_call)
        return asyncio.get_running_loop().time()

    assert run(scenario()) == 5
    assert source.closed
    assert engine.prompts == []
    assert all(session.aborted for session in engine.sessions)


# -- coalescing -----------------------------------------------------------------------------------


class Scripted:
    """Delivers what a test puts into a queue; None is the end."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Append | Update | Exception | None] = asyncio.Queue()

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        while (event := await self.events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event


async def turns() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_rankings_that_are_superseded_while_the_engine_computes_are_not_sent(
    engine: FakeEngine,
) -> None:
    engine.prefilled, source = asyncio.Event(), Scripted()
    asked = StreamingRAG(engine, source, sampling_params=SAMPLING, coalesce=True)
    answer = asyncio.create_task(asked.answer("Q?"))
    for event in (update("a", "b"), update("b", "c"), append("d"), update("d", "c")):
        source.events.put_nowait(event)
        await turns()
    assert engine.sessions[0].operations == 1
    engine.prefilled.set()
    await turns()
    assert engine.sessions[0].operations == 2
    source.events.put_nowait(append("e"))
    await turns()
    assert engine.sessions[0].operations == 2, "the second one is still being computed"
    source.events.put_nowait(None)
    assert (await answer).documents == documents("d", "c", "e")
    assert engine.sessions[0].operations == 3


async def test_the_end_of_the_source_waits_for_nothing(engine: FakeEngine) -> None:
    """An engine short of memory may get to the rest only when the prompt is complete."""
    engine.prefilled = asyncio.Event()
    many = [append(str(number)) for number in range(200)]
    async with asyncio.timeout(20):
        answer = await rag(engine, many, coalesce=True, max_prompt_tokens=100_000).answer("Q?")
    assert len(answer.documents) == 200
    assert engine.sessions[0].operations == 2


async def test_without_coalescing_every_event_is_sent_at_once(engine: FakeEngine) -> None:
    engine.prefilled = asyncio.Event()
    await rag(engine).answer("Q?")
    assert engine.sessions[0].operations == len(RANKINGS)


@pytest.mark.parametrize("blocking", [False, True])
async def test_coalescing_changes_no_answer(engine: FakeEngine, blocking: bool) -> None:
    plain = await rag(engine).answer("Q?")
    events = [event async for event in rag(engine, coalesce=True, blocking=blocking).stream("Q?")]
    assert events[-1].answer.documents == plain.documents  # type: ignore[union-attr]
    received = [event.event for event in events if isinstance(event, ContextReceived)]
    assert received[-1] == RANKINGS[-1]
    tokens = engine.prompts[-1] if blocking else engine.sessions[-1].tokens
    assert tokens == engine.sessions[0].tokens


async def test_an_error_of_a_coalesced_source_is_typed(engine: FakeEngine) -> None:
    engine.prefilled, source = asyncio.Event(), Scripted()
    asked = StreamingRAG(engine, source, sampling_params=SAMPLING, coalesce=True)
    source.events.put_nowait(append("a"))
    source.events.put_nowait(ConnectionError("index is down"))
    with pytest.raises(ContextSourceError, match="index is down"):
        await asyncio.wait_for(asked.answer("Q?"), timeout=20)
    assert engine.sessions[0].aborted


async def test_an_engine_that_fails_while_it_computes_ends_the_question(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    class Failing(FakeEngine):
        async def open_session(self, *args: Any, **options: Any) -> Any:
            session = await super().open_session(*args, **options)

            async def fail() -> None:
                raise DeadlineExceededError("its deadline passed")

            session.wait_prefilled = fail  # type: ignore[method-assign]
            return session

    source = Hanging()
    asked = StreamingRAG(Failing(chat_tokenizer), source, sampling_params=SAMPLING, coalesce=True)
    with pytest.raises(DeadlineExceededError, match="its deadline passed"):
        await asyncio.wait_for(asked.answer("Q?"), timeout=20)
    assert source.closed
