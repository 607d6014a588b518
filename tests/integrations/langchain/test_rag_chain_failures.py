"""What goes wrong: errors, consumers that leave, retrievers that hang."""

import asyncio
import gc
import logging
import threading
from typing import Any

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from langchain_stream2llm import ChatStream2LLM, StreamingRetriever, create_streaming_rag_chain
from stream2llm_engine import DeadlineExceededError, EngineDeadError
from stream2llm_rag import ContextSourceError
from tests.integrations.langchain.calls import EVERY_CALL, INPUT, call
from tests.integrations.langchain.fakes import (
    FakeEngine,
    Recorder,
    ScriptedRetriever,
    docs,
    eventually,
)


@EVERY_CALL
async def test_a_retriever_error_reaches_the_caller_and_aborts(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), ValueError("index gone")], engine=engine)
    recorder = Recorder()
    chain = create_streaming_rag_chain(retriever, prompt, llm)
    with pytest.raises(ValueError, match="index gone"):
        await call(chain, how, config={"callbacks": [recorder]})
    assert engine.operations[-1] == ("abort", "")
    errors = {name: n for name, n in recorder.counts.items() if name.endswith("error")}
    assert errors == {"chain_error": 1, "model_error": 1, "retriever_error": 1}


@EVERY_CALL
async def test_of_several_retrievers_one_may_fail(
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = ScriptedRetriever(deltas=[ConnectionError("index gone")], name="broken")
    merged = StreamingRetriever.merge(broken, ScriptedRetriever(deltas=[docs("one")]))
    with caplog.at_level(logging.WARNING):
        message = await call(create_streaming_rag_chain(merged, prompt, llm), how)
    assert "Read:\none\nQ" in message.text
    assert "broken" in caplog.text


@EVERY_CALL
async def test_a_retriever_that_is_late_is_left_behind(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    hanging = ScriptedRetriever(deltas=[docs("one"), asyncio.Event(), docs("never")])
    steady = ScriptedRetriever(deltas=[docs("two")])
    merged = StreamingRetriever.merge(hanging.with_time_limit(0.2), steady, order="rank")
    message = await call(create_streaming_rag_chain(merged, prompt, llm), how)
    assert "Read:\none\n\ntwo\nQ" in message.text
    assert hanging.closed == ["why?"]


@EVERY_CALL
async def test_a_deadline_does_not_wait_for_the_retriever(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    hanging = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    chain = create_streaming_rag_chain(hanging, prompt, llm)
    with pytest.raises(DeadlineExceededError, match=r"0\.2 s.*with_time_limit"):
        await call(chain.bind(deadline_s=0.2), how)
    assert engine.operations[-1] == ("abort", "")
    await asyncio.to_thread(eventually, lambda: hanging.closed == ["why?"])


@EVERY_CALL
async def test_an_engine_error_reaches_the_caller_and_stops_the_retriever(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    engine.fail_open = EngineDeadError("gone")
    with pytest.raises(EngineDeadError, match="gone"):
        await call(create_streaming_rag_chain(retriever, prompt, llm), how)
    await asyncio.to_thread(eventually, lambda: len(retriever.closed) == len(retriever.emitted))


@pytest.mark.parametrize("return_sources", [False, True])
@pytest.mark.parametrize("how", ["ainvoke", "abatch", "astream"])
async def test_a_cancelled_consumer_stops_everything_and_leaves_no_task(
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
    return_sources: bool,
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    recorder = Recorder()
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=return_sources)
    before = asyncio.all_tasks()
    task = asyncio.create_task(call(chain, how, config={"callbacks": [recorder]}))
    await engine.until_sent("one")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert retriever.closed == ["why?"]
    assert engine.operations[-1] == ("abort", "")
    assert recorder.counts["retriever_error"] == 1
    assert asyncio.all_tasks() == before


async def test_a_consumer_that_leaves_during_the_answer_stops_the_engine(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    stream: Any = chain.astream(INPUT)
    await anext(stream)
    await stream.aclose()
    assert engine.operations[-1] == ("abort", "")


async def test_a_consumer_that_just_breaks_stops_the_engine_too(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    """Nobody closes the generator but the event loop, when the last reference is gone."""
    before = asyncio.all_tasks()
    async for _ in chain.astream(INPUT):
        break
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)
    assert engine.operations[-1] == ("abort", "")
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("return_sources", [False, True])
def test_leaving_the_synchronous_stream_stops_the_engine(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    return_sources: bool,
) -> None:
    hold = threading.Event()
    hold.set()
    engine.decoding = lambda: asyncio.to_thread(hold.wait)
    engine.reply = lambda _: "many words of an answer"
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=return_sources)
    stream: Any = chain.stream(INPUT)
    for chunk in stream:
        if not return_sources or "answer" in chunk:
            break
    hold.clear()
    stream.close()
    hold.set()
    eventually(lambda: engine.sessions[0].state in ("aborted", "finished"))


def test_leaving_the_synchronous_stream_stops_a_retriever_that_hangs(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=True)
    stream: Any = chain.stream(INPUT)
    for chunk in stream:
        if "context" in chunk:
            break
    eventually(lambda: bool(engine.sessions))
    stream.close()
    eventually(lambda: retriever.closed == ["why?"])
    eventually(lambda: engine.operations[-1] == ("abort", ""))


async def test_a_retriever_that_is_cancelled_from_inside_is_an_error(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    class Cancelled(ScriptedRetriever):
        async def _astream_documents(
            self, query: str, *, run_manager: Any, k: int | None = None
        ) -> Any:
            yield docs("one")
            raise asyncio.CancelledError

    chain = create_streaming_rag_chain(Cancelled(deltas=[]), prompt, llm)
    with pytest.raises(ContextSourceError, match="cancelled"):
        await chain.ainvoke(INPUT)
