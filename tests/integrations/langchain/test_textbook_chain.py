"""Hazards of the textbook chain, ``RunnablePassthrough.assign(context=…) | prompt | llm``."""

import asyncio
import gc
from operator import itemgetter
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableParallel, RunnablePassthrough

from langchain_stream2llm import (
    ChatStream2LLM,
    DocumentDelta,
    StreamingChatPromptTemplate,
    StreamingRetriever,
)
from langchain_stream2llm._streamed_prompt import StreamedPromptValue
from stream2llm_engine import InvalidRequestError
from tests.integrations.langchain.calls import EVERY_STREAM, call
from tests.integrations.langchain.fakes import FakeEngine, Recorder, ScriptedRetriever, docs
from tests.integrations.langchain.stand_ins import texts

INPUT = {"question": "why?"}
RENDERED = "<system>one\n\ntwo\n\nthree</system><user>why?</user><assistant>"


@pytest.fixture
def prompt() -> StreamingChatPromptTemplate:
    return StreamingChatPromptTemplate.from_messages(
        [("system", "{context}"), ("human", "{question}")]
    )


@pytest.fixture
def chain(
    retriever: ScriptedRetriever, prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM
) -> Any:
    return textbook(retriever, prompt, llm)


def textbook(
    retriever: Any, prompt: StreamingChatPromptTemplate, llm: Runnable[Any, Any]
) -> Runnable[Any, Any]:
    context = itemgetter("question") | retriever
    return RunnablePassthrough.assign(context=context) | prompt | llm


@EVERY_STREAM
async def test_a_search_that_finds_nothing_leaves_the_context_empty(
    prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    message = await call(textbook(ScriptedRetriever(deltas=[]), prompt, llm), how, INPUT)
    assert message.text == "saw <system></system><user>why?</user><assistant>"


@EVERY_STREAM
async def test_retrievers_of_several_kinds_stream_into_it(
    prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever(
        deltas=[docs(a="A", b="B"), DocumentDelta(docs(b="B2"), retract=["a"])], engine=engine
    )
    merged = StreamingRetriever.merge(retriever)
    message = await call(textbook(merged, prompt, llm), how, INPUT)
    assert message.text == "saw <system>B2</system><user>why?</user><assistant>"
    assert [kind for kind, _ in engine.operations] == ["append", "append", "update", "finalize"]


async def test_events_show_everything_in_order(chain: Runnable[Any, Any]) -> None:
    names = [event["event"] async for event in chain.astream_events(INPUT, version="v2")]
    for name in ("on_retriever_start", "on_retriever_end", "on_chat_model_start"):
        assert names.count(name) == 1
    assert names.index("on_chat_model_start") < names.index("on_retriever_end")
    assert names.count("on_prompt_stream") == 4
    assert names.count("on_chat_model_stream") > 1


@pytest.mark.parametrize("first_to_come", ["context", "question"])
async def test_branches_may_come_in_any_order(
    prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, first_to_come: str
) -> None:
    """``RunnableParallel`` passes branches on as they arrive; the prompt has one place for each."""
    release = asyncio.Event()

    class Finding(StreamingRetriever):
        async def _astream_documents(self, query: str, *, run_manager: Any) -> Any:
            if first_to_come == "question":
                await release.wait()
            yield docs("one")
            release.set()

    async def question(value: str) -> str:
        if first_to_come == "context":
            await release.wait()
        release.set()
        return value

    branches: Any = {"context": Finding(), "question": question}
    message = await call(RunnableParallel(branches) | prompt | llm, "astream", "why?")
    assert message.text == "saw <system>one</system><user>why?</user><assistant>"


async def test_a_cancelled_consumer_stops_the_engine_at_once_and_the_retriever_at_its_next_document(
    prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    """LangChain leaves the task of a branch behind; ``create_streaming_rag_chain`` does not."""
    more = asyncio.Event()
    retriever = ScriptedRetriever(deltas=[docs("one"), more, docs("two"), docs("three")])
    before = asyncio.all_tasks()
    task = asyncio.create_task(call(textbook(retriever, prompt, llm), "astream", INPUT))
    await engine.until_sent("one")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.operations[-1] == ("abort", "")
    more.set()
    for _ in range(20):
        await asyncio.sleep(0)
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)
    assert retriever.emitted == [0, 2]
    assert retriever.closed == ["why?"]
    assert asyncio.all_tasks() == before


async def test_a_consumer_that_just_breaks_stops_the_engine(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    async for _ in chain.astream(INPUT):
        break
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)
    assert engine.operations[-1] == ("abort", "")


# -- the prompt -----------------------------------------------------------------------------------


@EVERY_STREAM
async def test_a_history_in_front_is_computed_before_anything_is_found(
    retriever: ScriptedRetriever, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    prompt = StreamingChatPromptTemplate.from_messages(
        [MessagesPlaceholder("history"), ("human", "{context} {question}")]
    )
    history = [HumanMessage("hi"), AIMessage("hello")]
    await call(textbook(retriever, prompt, llm), how, {**INPUT, "history": history})
    assert engine.operations[0] == (
        "append",
        "<user>hi</user><assistant>hello</assistant><user>",
    )


@EVERY_STREAM
async def test_variables_may_be_filled_in_before(
    retriever: ScriptedRetriever, llm: ChatStream2LLM, how: str
) -> None:
    prompt = StreamingChatPromptTemplate.from_template("{context} {question} {today}")
    partial = prompt.partial(today=lambda: "monday", question="who?")
    context = itemgetter("question") | retriever
    chain = RunnablePassthrough.assign(context=context) | partial | llm
    message = await call(chain, how, {"question": "why?"})
    assert message.text == "saw <user>one\n\ntwo\n\nthree why? monday</user><assistant>"


@EVERY_STREAM
@pytest.mark.parametrize(
    ("template_format", "text"),
    [("f-string", "{context}!"), ("jinja2", "{{ context }}!"), ("mustache", "{{{context}}}!")],
)
async def test_any_template_may_be_made_a_streaming_one(
    retriever: ScriptedRetriever, llm: ChatStream2LLM, how: str, template_format: Any, text: str
) -> None:
    template = ChatPromptTemplate.from_messages([("human", text)], template_format=template_format)
    chain = textbook(retriever, StreamingChatPromptTemplate(prompt=template), llm)
    message = await call(chain, how, INPUT)
    assert message.text == "saw <user>one\n\ntwo\n\nthree!</user><assistant>"


def test_pieces_cannot_be_stored() -> None:
    piece = StreamedPromptValue(documents=DocumentDelta(docs("one")))
    with pytest.raises(ValueError, match="materialize"):
        piece.model_dump()


async def test_callbacks_see_an_ordinary_chain(
    prompt: StreamingChatPromptTemplate, retriever: ScriptedRetriever
) -> None:
    recorder = Recorder()
    retriever.engine = None
    model = GenericFakeChatModel(messages=iter(["fine"]))
    await call(textbook(retriever, prompt, model), "astream", INPUT, {"callbacks": [recorder]})
    assert recorder.counts["retriever_start"] == recorder.counts["retriever_end"] == 1
    assert recorder.counts["model_start"] == recorder.counts["model_end"] == 1
    assert texts(recorder.documents) == ["one", "two", "three"]


async def test_a_variable_that_never_comes_is_an_error(
    retriever: ScriptedRetriever, llm: ChatStream2LLM
) -> None:
    prompt = StreamingChatPromptTemplate.from_template("{context} {missing}")
    retriever.engine = None
    with pytest.raises(InvalidRequestError, match="missing"):
        await call(textbook(retriever, prompt, llm), "astream", INPUT)
