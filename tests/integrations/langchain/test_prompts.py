"""The textbook chain, retriever | prompt | model, with a prompt that streams."""

import asyncio
from operator import itemgetter
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnablePassthrough

from langchain_stream2llm import ChatStream2LLM, DocumentDelta, StreamingChatPromptTemplate
from langchain_stream2llm._streamed_prompt import StreamedPromptValue
from stream2llm_engine import InvalidRequestError, UnsupportedFeatureError
from tests.integrations.langchain.fakes import (
    FakeEngine,
    Recorder,
    ScriptedRetriever,
    docs,
    eventually,
)

RENDERED = "<system>one\n\ntwo</system><user>why?</user><assistant>"


@pytest.fixture
def prompt() -> StreamingChatPromptTemplate:
    return StreamingChatPromptTemplate.from_messages(
        [("system", "{context}"), ("human", "{question}")]
    )


@pytest.fixture
def retriever(engine: FakeEngine) -> Any:
    return ScriptedRetriever(deltas=[docs("one"), docs("two")], engine=engine)


def textbook(
    retriever: ScriptedRetriever, prompt: StreamingChatPromptTemplate, llm: Runnable[Any, Any]
) -> Any:
    context = itemgetter("question") | retriever
    return RunnablePassthrough.assign(context=context) | prompt | llm


async def collect(chain: Runnable[Any, Any], how: str, values: Any, config: Any = None) -> Any:
    if how == "stream":
        chunks = await asyncio.to_thread(lambda: list(chain.stream(values, config)))
    else:
        chunks = [chunk async for chunk in chain.astream(values, config)]
    return sum(chunks[1:], chunks[0])


BOTH = pytest.mark.parametrize("how", ["stream", "astream"])


@BOTH
async def test_the_textbook_chain_overlaps(
    retriever: ScriptedRetriever,
    prompt: StreamingChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    recorder = Recorder()
    chain = textbook(retriever, prompt, llm)
    message = await collect(chain, how, {"question": "why?"}, {"callbacks": [recorder]})
    assert message.text == f"saw {RENDERED}"
    assert [text for _, text in engine.operations] == [
        "<system>",
        "one",
        "\n\ntwo",
        "</system><user>why?</user><assistant>",
    ]
    assert message.response_metadata["stream2llm"]["prefilled_before_final"] > 0
    assert recorder.counts["model_start"] == recorder.counts["model_end"] == 1
    assert recorder.counts["token"] == 2


@BOTH
async def test_bound_options_pass_through(
    retriever: ScriptedRetriever,
    prompt: StreamingChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    await collect(textbook(retriever, prompt, llm.bind(stop=["x"])), how, {"question": "why?"})
    assert engine.sessions[0].sampling_params.stop == ["x"]
    assert len(engine.operations) == 4


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_without_streaming_the_chain_is_an_ordinary_one(
    retriever: ScriptedRetriever,
    prompt: StreamingChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    retriever.engine = None
    chain = textbook(retriever, prompt, llm) | StrOutputParser()
    if how == "invoke":
        text = await asyncio.to_thread(chain.invoke, {"question": "why?"})
    else:
        text = await chain.ainvoke({"question": "why?"})
    assert text == f"saw {RENDERED}"
    assert engine.operations == [("finalize", RENDERED)]


@BOTH
async def test_another_model_gets_the_whole_prompt(
    prompt: StreamingChatPromptTemplate, how: str
) -> None:
    seen = []

    def remember(value: Any) -> Any:
        seen.append(value.to_string())
        return "x"

    retriever = ScriptedRetriever(
        deltas=[docs(a="A", b="B"), DocumentDelta(docs(b="B2"), retract=["a"])]
    )
    model = RunnableLambda(remember) | GenericFakeChatModel(messages=iter(["fine"]))
    message = await collect(textbook(retriever, prompt, model), how, {"question": "why?"})
    assert message.text == "fine"
    assert seen == ["System: B2\nHuman: why?"]


@BOTH
async def test_fallbacks_get_the_whole_prompt(
    prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    engine.fail_open = InvalidRequestError("no")
    model = llm.with_fallbacks([GenericFakeChatModel(messages=iter(["fine"]))])
    chain = textbook(ScriptedRetriever(deltas=[docs("one")]), prompt, model)
    assert (await collect(chain, how, {"question": "why?"})).text == "fine"


@BOTH
async def test_the_prompt_waits_for_its_other_variables(
    retriever: ScriptedRetriever, prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    source = RunnableParallel(context=retriever, question=RunnablePassthrough())
    assert (await collect(source | prompt | llm, how, "why?")).text == f"saw {RENDERED}"


@BOTH
async def test_a_variable_that_still_changes_is_an_error(
    prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    async def words(_: Any) -> Any:
        for word in ("wh", "y?"):
            yield word

    def sync_words(_: Any) -> Any:
        yield from ("wh", "y?")

    question = RunnableLambda(sync_words) if how == "stream" else words
    source = RunnablePassthrough.assign(
        context=RunnableLambda(lambda _: docs("one")), question=question
    )
    with pytest.raises(InvalidRequestError, match="question"):
        await collect(source | prompt | llm, how, {})


@pytest.mark.parametrize("context", ["text", ["text"], None])
async def test_the_context_must_be_documents(
    prompt: StreamingChatPromptTemplate, context: Any
) -> None:
    with pytest.raises(InvalidRequestError, match="document_prompt"):
        await prompt.ainvoke({"context": context, "question": "why?"})


@pytest.mark.parametrize("values", [{"question": "why?"}, {"context": docs("one")}])
async def test_missing_input_is_an_error(
    prompt: StreamingChatPromptTemplate, values: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        await prompt.ainvoke(values)
    with pytest.raises(InvalidRequestError):
        await collect(prompt, "astream", values)


async def test_optional_variables_are_filled_in() -> None:
    prompt = StreamingChatPromptTemplate.from_messages(
        [MessagesPlaceholder("history", optional=True), ("human", "{context} {question}")]
    )
    values = {"context": docs("one"), "question": "why?"}
    assert prompt.invoke(values).to_string() == "Human: one why?"
    with_history = prompt.invoke({**values, "history": [("ai", "hello")]})
    assert with_history.to_string() == "AI: hello\nHuman: one why?"


def test_a_later_piece_is_no_prompt() -> None:
    piece = StreamedPromptValue(documents=DocumentDelta(docs("one")))
    with pytest.raises(UnsupportedFeatureError, match="add"):
        piece.to_messages()


@BOTH
async def test_a_retriever_error_aborts(
    prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), ValueError("index gone")], engine=engine)
    with pytest.raises(ValueError, match="index gone"):
        await collect(textbook(retriever, prompt, llm), how, {"question": "why?"})
    assert engine.operations[-1] == ("abort", "")


async def test_a_cancelled_consumer_aborts(
    prompt: StreamingChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    chain = textbook(retriever, prompt, llm)
    task = asyncio.create_task(collect(chain, "astream", {"question": "why?"}))
    await engine.until_sent("one")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.operations[-1] == ("abort", "")


def test_leaving_the_synchronous_stream_ends_the_feeding_thread(
    retriever: ScriptedRetriever,
    prompt: StreamingChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
) -> None:
    engine.reply = lambda _: "some words"
    stream = textbook(retriever, prompt, llm).stream({"question": "why?"})
    next(stream)
    stream.close()
    eventually(lambda: engine.sessions[0].state in ("aborted", "finished"))
