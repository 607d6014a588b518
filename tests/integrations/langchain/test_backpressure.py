"""Retrievers that find faster than the engine takes in."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from operator import itemgetter
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnablePassthrough

from langchain_stream2llm import (
    ChatStream2LLM,
    StreamingChatPromptTemplate,
    StreamingRetriever,
    create_streaming_rag_chain,
)
from langchain_stream2llm._pace import PacedContext
from stream2llm_engine import PromptTooLongError
from stream2llm_rag import Append
from stream2llm_rag import Document as CoreDocument
from tests.integrations.langchain.calls import EVERY_CALL, INPUT, call
from tests.integrations.langchain.fakes import FakeEngine, FakeSession, docs

AT_MOST_AHEAD = 70


class FullSession(FakeSession):
    """Takes ten documents and no more, as one whose prompt cannot grow any further."""

    taken = 0

    async def append(self, ids: Sequence[int]) -> None:
        self.taken += 1
        if self.taken > 10:
            msg = "the prompt is too long"
            raise PromptTooLongError(msg)
        await super().append(ids)


class FullEngine(FakeEngine):
    async def open_session(self, *_: Any, tenant: str = "default", **__: Any) -> Any:
        session = FullSession(self, tenant)
        self.sessions.append(session)
        return session


class EndlessRetriever(StreamingRetriever):
    """Never waits for anything and never ends."""

    found: list[int] = []  # noqa: RUF012 - pydantic copies it
    closed: list[str] = []  # noqa: RUF012 - pydantic copies it

    async def _astream_documents(
        self, query: str, *, run_manager: Any
    ) -> AsyncIterator[list[Document]]:
        try:
            for number in itertools.count():
                self.found.append(number)
                yield docs(f"{number}")
        finally:
            self.closed.append(query)


@pytest.fixture
def engine() -> FakeEngine:
    return FullEngine()


@EVERY_CALL
async def test_an_endless_retriever_stops_nobody_and_is_stopped(
    prompt: Any, llm: ChatStream2LLM, how: str
) -> None:
    retriever = EndlessRetriever()
    chain = create_streaming_rag_chain(retriever, prompt, llm)
    with pytest.raises(PromptTooLongError):
        await call(chain, how)
    await _eventually(lambda: retriever.closed == ["why?"])


async def test_it_is_never_far_ahead_of_the_engine(llm: ChatStream2LLM, prompt: Any) -> None:
    held = asyncio.Event()

    class Held(FakeSession):
        async def append(self, ids: Sequence[int]) -> None:
            await super().append(ids)
            await held.wait()

    class HeldEngine(FakeEngine):
        async def open_session(self, *_: Any, tenant: str = "default", **__: Any) -> Any:
            self.sessions.append(Held(self, tenant))
            return self.sessions[0]

    retriever, engine = EndlessRetriever(), HeldEngine()
    chain = create_streaming_rag_chain(retriever, prompt, ChatStream2LLM(engine=engine))
    task = asyncio.create_task(chain.ainvoke(INPUT))
    await engine.until_sent("<system>")
    await idle()
    before = len(retriever.found)
    held.set()
    await engine.until_sent("\n\n300")
    assert len(retriever.found) > 300
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert before < AT_MOST_AHEAD, "it waited while nothing was taken"
    assert retriever.closed == ["why?"]


async def test_the_textbook_chain_is_held_back_as_well(llm: ChatStream2LLM) -> None:
    retriever = EndlessRetriever()
    prompt = StreamingChatPromptTemplate.from_template("{context} {question}")
    found = itemgetter("question") | retriever
    chain: Any = RunnablePassthrough.assign(context=found) | prompt | llm
    with pytest.raises(PromptTooLongError):
        await call(chain, "astream")


async def _eventually(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another loop's doing
            await asyncio.sleep(0.001)


# -- the context itself ---------------------------------------------------------------------------


def event(number: int) -> Append:
    return Append(documents=(CoreDocument(id=str(number), text="x"),))


async def produce(context: PacedContext, count: int) -> None:
    for number in range(count):
        context.put(event(number))
        await context.room()
    context.close()


async def idle() -> None:
    for _ in range(500):
        await asyncio.sleep(0)


async def test_a_producer_waits_for_its_slowest_reader() -> None:
    context = PacedContext()
    fast, slow = aiter(context), aiter(context)
    task = asyncio.create_task(produce(context, 300))
    await anext(slow)
    fast_reading = asyncio.create_task(_rest_of(fast))
    await idle()
    assert len(context.documents) < AT_MOST_AHEAD
    assert len(await _rest_of(slow)) == 299
    assert len(await fast_reading) == 300
    await task


async def test_a_producer_waits_for_the_first_reader_too() -> None:
    context = PacedContext()
    task = asyncio.create_task(produce(context, 300))
    await idle()
    assert len(context.documents) < AT_MOST_AHEAD
    assert [found async for found in context] == [event(number) for number in range(300)]
    await task


async def test_a_reader_that_leaves_is_not_waited_for() -> None:
    context = PacedContext()
    stuck: Any = aiter(context)
    task = asyncio.create_task(produce(context, 300))
    await anext(stuck)
    reading = asyncio.create_task(_rest_of(aiter(context)))
    await idle()
    await stuck.aclose()
    assert len(await reading) == 300
    await task


async def test_who_wants_the_whole_does_not_hold_it_back() -> None:
    context = PacedContext()
    task = asyncio.create_task(produce(context, 300))
    assert len(await context.wait()) == 300
    await task
    second = PacedContext()
    task = asyncio.create_task(produce(second, 300))
    assert len(await asyncio.to_thread(second.wait_sync)) == 300
    await task


async def test_a_reader_in_a_thread_counts_as_well() -> None:
    context = PacedContext()
    task = asyncio.create_task(produce(context, 300))
    assert len(await asyncio.to_thread(lambda: list(context.iter_events()))) == 300
    await task


async def _rest_of(reader: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in reader]


async def test_a_cancelled_producer_leaves_its_readers_alone() -> None:
    context = PacedContext()
    reader = aiter(context)
    task = asyncio.create_task(produce(context, 1000))
    await anext(reader)
    await idle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    context.close()
    assert len([found async for found in reader]) == len(context.documents) - 1


def test_a_producer_in_a_thread_waits_as_well() -> None:
    context = PacedContext()

    def produce_in_thread() -> None:
        for number in range(300):
            context.put(event(number))
            context.room_sync()
        context.close()

    async def consume() -> int:
        producer = asyncio.create_task(asyncio.to_thread(produce_in_thread))
        taken = 0
        async for _ in context:
            taken += 1
            assert len(context.documents) - taken < AT_MOST_AHEAD
        await producer
        return taken

    assert asyncio.run(consume()) == 300
