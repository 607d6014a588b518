"""``return_sources=True``: what was found, and then the answer."""

import asyncio
import pickle
from collections import Counter
from typing import Any

import pytest
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.chains.retrieval import create_retrieval_chain
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from langchain_stream2llm import ChatStream2LLM, DocumentDelta, create_streaming_rag_chain
from stream2llm_engine import EngineDeadError
from tests.integrations.langchain.calls import (
    EVERY_CALL,
    EVERY_STREAM,
    INPUT,
    RENDERED,
    call,
    chunks_of,
)
from tests.integrations.langchain.fakes import FakeEngine, Recorder, ScriptedRetriever, docs
from tests.integrations.langchain.stand_ins import GatedRetriever, ListRetriever, texts


@pytest.fixture
def chain(retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM) -> Any:
    return create_streaming_rag_chain(retriever, prompt, llm, return_sources=True)


@EVERY_CALL
async def test_the_result_has_the_input_the_documents_and_the_answer(
    chain: Runnable[Any, Any], engine: FakeEngine, how: str
) -> None:
    result = await call(chain, how)
    assert result.keys() == {"question", "manner", "context", "answer"}
    assert result["question"] == "why?"
    assert texts(result["context"]) == ["one", "two", "three"]
    assert result["answer"].text == f"saw {RENDERED}"
    assert result["answer"].response_metadata["stream2llm"]["prefilled_before_final"] > 0
    assert len(engine.operations) == 5, "retrieval and prefill overlapped"


@EVERY_STREAM
async def test_documents_stream_in_front_of_the_answer(chain: Runnable[Any, Any], how: str) -> None:
    chunks = await chunks_of(chain, how)
    assert chunks[0] == INPUT
    assert [texts(chunk["context"]) for chunk in chunks[1:4]] == [["one"], ["two"], ["three"]]
    assert all(chunk.keys() == {"answer"} for chunk in chunks[4:])
    assert len(chunks) > 5


async def test_documents_come_before_the_retriever_has_finished(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    retriever = GatedRetriever(deltas=[docs("one"), docs("two")])
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=True)
    stream: Any = chain.astream(INPUT)
    await anext(stream)
    for text in ("one", "two"):
        retriever.gate.release()
        assert texts((await anext(stream))["context"]) == [text]
    assert [chunk.keys() async for chunk in stream]


@EVERY_STREAM
async def test_retracted_documents_are_not_among_the_sources(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    retriever = ScriptedRetriever(
        deltas=[docs(a="A", b="B"), DocumentDelta(docs(b="B2"), retract=["a"])]
    )
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=True)
    assert texts((await call(chain, how))["context"]) == ["B2"]
    assert texts((await chain.ainvoke(INPUT))["context"]) == ["B2"]


@EVERY_CALL
async def test_it_is_what_langchains_own_retrieval_chain_returns(
    llm: ChatStream2LLM, how: str
) -> None:
    retriever = ListRetriever(documents=docs("one", "two"))
    prompt = ChatPromptTemplate.from_template("Read:\n{context}\nQ: {input}")
    own = create_retrieval_chain(retriever, create_stuff_documents_chain(llm, prompt))
    streaming = create_streaming_rag_chain(
        retriever, prompt, llm | StrOutputParser(), question_key="input", return_sources=True
    )
    assert await call(streaming, how, {"input": "why?"}) == await own.ainvoke({"input": "why?"})


@EVERY_CALL
async def test_nothing_found_is_an_empty_list(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    chain = create_streaming_rag_chain(
        ScriptedRetriever(deltas=[]), prompt, llm, return_sources=True
    )
    assert (await call(chain, how))["context"] == []


@EVERY_CALL
async def test_the_documents_are_those_of_the_retriever(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    found = Document("x", metadata={"page": 3})
    chain = create_streaming_rag_chain(
        ListRetriever(documents=[found]), prompt, llm, return_sources=True
    )
    result = await call(chain, how)
    assert result["context"] == [found]
    assert pickle.loads(pickle.dumps(result["context"])) == [found]


async def test_a_slow_reader_keeps_nobody_waiting(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    stream: Any = chain.astream(INPUT)
    await anext(stream)
    await anext(stream)
    await engine.until_sent("Q: why?")  # although only the first document was taken
    assert [text for _, text in engine.operations[1:4]] == ["one", "\n\ntwo", "\n\nthree"]
    assert len([chunk async for chunk in stream]) > 2


@EVERY_CALL
async def test_a_retriever_error_comes_behind_what_was_found(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), ValueError("index gone")], engine=engine)
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=True)
    recorder = Recorder()
    with pytest.raises(ValueError, match="index gone"):
        await call(chain, how, config={"callbacks": [recorder]})
    errors = {name: n for name, n in recorder.counts.items() if name.endswith("error")}
    assert errors == {"chain_error": 1, "model_error": 1, "retriever_error": 1}


@EVERY_STREAM
async def test_an_engine_error_does_not_wait_for_the_retriever(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    engine.fail_open = EngineDeadError("gone")
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=True)
    with pytest.raises(EngineDeadError, match="gone"):
        await call(chain, how)


async def test_event_streams_show_both(chain: Runnable[Any, Any]) -> None:
    chunks: Counter[str] = Counter()
    async for event in chain.astream_events(INPUT, version="v2"):
        if event["event"] == "on_chain_stream" and event["name"] == "streaming_rag_chain":
            data: Any = event["data"]
            chunks.update(data["chunk"].keys())
    assert chunks["context"] == 3
    assert chunks["answer"] > 1
