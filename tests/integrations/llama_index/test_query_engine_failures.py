"""Retrievers that fail or hang, readers that leave: nothing is left behind."""

import asyncio
from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.llms.stream2llm import Stream2LLM, StreamingRetriever
from stream2llm_engine import DeadlineExceededError
from stream2llm_rag import ContextSourceError
from tests.integrations.llama_index.asking import HOW, ask, made, texts
from tests.integrations.llama_index.fakes import FakeEngine, Gate, ScriptedRetriever, node


async def closed(retriever: ScriptedRetriever) -> None:
    """Waits until a retriever was left."""
    async with asyncio.timeout(20):
        while not retriever.closed:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["query", "aquery"])
async def test_an_error_of_the_retriever_is_raised_and_the_session_aborted(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever([[node("a")], ConnectionError("gone")], engine)
    with pytest.raises(ContextSourceError, match="gone") as caught:
        await ask(made(llm, retriever), how)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert engine.operations[-1] == ("abort", "")


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_a_streamed_response_raises_when_it_is_read(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever([[node("a")], ConnectionError("gone")], engine)
    query_engine = made(llm, retriever, how)
    response: Any = query_engine.query("?") if how == "stream" else await query_engine.aquery("?")
    await engine.until_aborted()
    read = response.get_response
    with pytest.raises(ContextSourceError, match="gone"):
        read() if how == "stream" else await read()


@pytest.mark.parametrize("how", ["query", "aquery"])
async def test_an_error_of_an_ordinary_retriever_has_the_same_type(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    class Broken(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            raise ConnectionError("gone")

    with pytest.raises(ContextSourceError, match="gone"):
        await ask(made(llm, Broken()), how)
    assert engine.operations[-1] == ("abort", "")


@pytest.mark.parametrize("how", HOW)
async def test_an_answer_that_is_not_there_in_time_is_a_typed_error(
    engine: FakeEngine, how: str
) -> None:
    never = Gate()
    never.open = False
    retriever = ScriptedRetriever([[node("a")], never])
    llm = Stream2LLM(engine=engine, timeout=0.05)
    with pytest.raises(DeadlineExceededError, match="with_time_limit"):
        await ask(made(llm, retriever, how), how)
    assert engine.operations[-1] == ("abort", "")
    await closed(retriever)


@pytest.mark.parametrize("how", HOW)
async def test_a_retriever_with_a_limit_of_its_own_gives_what_it_has(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    never = Gate()
    never.open = False
    retriever = ScriptedRetriever([[node("a")], never]).with_time_limit(0.05)
    response = await ask(made(llm, retriever, how), how)
    assert texts(response) == ["a"]
    assert response.response == "one two three"


@pytest.mark.parametrize("how", HOW)
async def test_one_of_several_retrievers_may_fail(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    broken = ScriptedRetriever([[node("a")], ConnectionError("gone")])
    other = ScriptedRetriever([[node("b")]])
    merged = StreamingRetriever.merge(broken, other)
    response = await ask(made(llm, merged, how), how)
    assert sorted(texts(response)) == ["a", "b"]
    strict = StreamingRetriever.merge(broken, other, on_error="fail")
    engine.sessions.clear()
    with pytest.raises(ContextSourceError, match="gone"):
        await ask(made(llm, strict, how), how)
    assert engine.operations[-1] == ("abort", "")
    assert (broken.closed, other.closed) == (2, 2)


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("leave", ["close", "drop"])
async def test_leaving_ends_retrieval_and_answer(
    llm: Stream2LLM, engine: FakeEngine, leave: str, read: bool
) -> None:
    never = Gate()
    never.open = read
    engine.reply = lambda _: "word " * 100_000
    retriever = ScriptedRetriever([[node("a")], never], engine)
    response = await made(llm, retriever, "stream").aquery("what?")
    await engine.until_sent("a")
    if read:
        await anext(response.response_gen)
    if leave == "close" and read:
        await response.response_gen.aclose()
    del response
    await engine.until_aborted()
    await closed(retriever)
    me = asyncio.current_task()
    assert [task for task in asyncio.all_tasks() if task is not me and not task.done()] == []


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_leaving_a_sync_response_ends_retrieval_and_answer(
    llm: Stream2LLM, engine: FakeEngine, leave: str
) -> None:
    engine.reply = lambda _: "word " * 100_000
    retriever = ScriptedRetriever([[node("a")]], engine)
    response = made(llm, retriever, "stream").query("what?")
    next(response.response_gen)
    if leave == "close":
        response.response_gen.close()
    del response
    engine.wait_until_aborted()


async def test_dropping_a_response_at_once_leaves_nothing(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    never = Gate()
    never.open = False
    await made(llm, ScriptedRetriever([never]), "stream").aquery("what?")
    await asyncio.sleep(0.1)
    me = asyncio.current_task()
    assert [task for task in asyncio.all_tasks() if task is not me and not task.done()] == []


async def test_cancelling_a_query_ends_retrieval_and_session(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    never = Gate()
    never.open = False
    retriever = ScriptedRetriever([[node("a")], never], engine)
    task = asyncio.create_task(made(llm, retriever).aquery("what?"))
    await engine.until_sent("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.until_aborted()
    await asyncio.sleep(0.05)
    assert retriever.closed == 1
