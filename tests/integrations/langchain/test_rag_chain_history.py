"""Conversations: a history in front of the context, and queries that depend on it."""

from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda

from langchain_stream2llm import ChatStream2LLM, create_streaming_rag_chain
from tests.integrations.langchain.calls import EVERY_CALL, call
from tests.integrations.langchain.fakes import FakeEngine, Recorder, ScriptedRetriever

HISTORY = [HumanMessage("hi"), AIMessage("hello")]
INPUT = {"question": "and then?", "history": HISTORY}


@pytest.fixture
def prompt() -> ChatPromptTemplate:
    return ChatPromptTemplate.from_messages(
        [MessagesPlaceholder("history", optional=True), ("human", "{context}\n{question}")]
    )


@EVERY_CALL
async def test_a_history_in_front_is_computed_before_anything_is_found(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    await call(create_streaming_rag_chain(retriever, prompt, llm), how, INPUT)
    assert engine.operations[:2] == [
        ("append", "<user>hi</user><assistant>hello</assistant><user>"),
        ("append", "one"),
    ]


@EVERY_CALL
async def test_a_history_behind_comes_with_the_question(
    retriever: ScriptedRetriever, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "{context}"), MessagesPlaceholder("history"), ("human", "{question}")]
    )
    await call(create_streaming_rag_chain(retriever, prompt, llm), how, INPUT)
    assert engine.operations[0] == ("append", "<system>")
    assert engine.operations[-1] == (
        "finalize",
        "</system><user>hi</user><assistant>hello</assistant><user>and then?</user><assistant>",
    )


async def test_a_conversation_may_start_without_a_history(
    retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    chain = create_streaming_rag_chain(retriever, prompt, llm)
    assert (await chain.ainvoke({"question": "hi?"})).text.startswith("saw <user>one")


@EVERY_CALL
async def test_the_query_may_be_rewritten_while_the_history_is_computed(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    async def not_before_the_history_is_sent(value: Any) -> Any:
        await engine.until_sent("hello</assistant>")
        return value

    rewrite = (
        RunnableLambda(not_before_the_history_is_sent)
        | ChatPromptTemplate.from_messages(
            [MessagesPlaceholder("history"), ("human", "Rewrite: {question}")]
        )
        | GenericFakeChatModel(messages=iter(["what comes after hello?"]))
        | StrOutputParser()
    )
    recorder = Recorder()
    chain = create_streaming_rag_chain(retriever, prompt, llm, query=rewrite)
    await call(chain, how, INPUT, {"callbacks": [recorder]})
    assert retriever.closed == ["what comes after hello?"]
    assert "and then?" in engine.operations[-1][1], "the answer is to the question as it was"
    assert recorder.counts["model_start"] == 2
