"""Retrieval and prefill overlap in a chat, and the conversation is remembered."""

import asyncio
import inspect
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.llms.stream2llm import (
    NodeUpdate,
    Stream2LLM,
    StreamingContextChatEngine,
    as_streaming_chat_engine,
)
from stream2llm_engine import UnsupportedFeatureError
from stream2llm_rag import ContextSourceError, PromptTemplateError
from tests.integrations.llama_index.fakes import (
    Callbacks,
    FakeEngine,
    Gate,
    Recorder,
    ScriptedRetriever,
    node,
)

TEMPLATE = "Read:\n{context_str}\n"
HOW = ["chat", "achat", "stream_chat", "astream_chat"]


def made(llm: Any, retriever: Any, **options: Any) -> StreamingContextChatEngine:
    options = {"context_template": TEMPLATE, "system_prompt": " Be brief. ", **options}
    options.setdefault("memory", ChatMemoryBuffer.from_defaults(token_limit=1000))
    engine = StreamingContextChatEngine.from_defaults(retriever, llm=llm, **options)
    assert isinstance(engine, StreamingContextChatEngine)
    return engine


async def say(chat_engine: Any, how: str, message: str = "what?", **options: Any) -> Any:
    """Says something in one of the ways; streamed responses are read to the end."""
    response = getattr(chat_engine, how)(message, **options)
    if how.startswith("a"):
        response = await response
    if how == "stream_chat":
        assert "".join(response.response_gen) == response.response
    if how == "astream_chat":
        tokens = [token async for token in response.async_response_gen()]
        assert "".join(tokens) == response.response
    return response


def texts(response: Any) -> list[str]:
    return [source.text for source in response.source_nodes]


def said(messages: list[ChatMessage]) -> list[tuple[str, str | None]]:
    return [(message.role.value, message.content) for message in messages]


@pytest.mark.parametrize("how", HOW)
async def test_nodes_are_sent_while_the_retriever_searches(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    # The retriever goes on only when the engine has got what it found.
    update = NodeUpdate([node("c"), node("a")])
    retriever = ScriptedRetriever([[node("a", tag=1)], [node("b"), node("c")], update], engine)
    response = await say(made(llm, retriever), how)
    assert engine.operations == [
        ("append", "<system>Read:\n"),
        ("append", "tag: 1\n\na"),
        ("append", "\n\nb\n\nc"),
        ("update", "<system>Read:\na\n\nc"),
        ("finalize", "\nBe brief.</system><user>what?</user><assistant>"),
    ]
    assert response.response == "one two three"
    assert texts(response) == ["c", "a"]
    assert response.metadata["stream2llm"]["prefilled_before_final"] > 0
    assert response.metadata["id-c"] == {}
    (source,) = response.sources
    assert (source.tool_name, source.raw_output) == ("retriever", response.source_nodes)
    assert retriever.closed == 1


@pytest.mark.parametrize("how", HOW)
async def test_a_turn_may_have_options_of_its_own(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    chat_engine = made(llm, ScriptedRetriever([[node("a")]]))
    await say(chat_engine, how, "first?")
    await say(chat_engine.with_options(tenant="gold", timeout=60), how, "second?")
    assert [session.options["tenant"] for session in engine.sessions] == ["default", "gold"]
    assert engine.sessions[1].options["deadline_s"] == 60
    assert [text for role, text in said(chat_engine.chat_history) if role == "user"] == [
        "first?",
        "second?",
    ]


@pytest.mark.parametrize("how", HOW)
async def test_the_conversation_goes_on(llm: Stream2LLM, engine: FakeEngine, how: str) -> None:
    retriever = ScriptedRetriever([[node("a")]])
    chat_engine = made(llm, retriever)
    await say(chat_engine, how, "first?")
    engine.reply = lambda _: "four"
    await say(chat_engine, how, "second?")
    assert said(chat_engine.chat_history) == [
        ("user", "first?"),
        ("assistant", "one two three"),
        ("user", "second?"),
        ("assistant", "four"),
    ]
    assert engine.sessions[1].prompt == (
        "<system>Read:\na\nBe brief.</system><user>first?</user>"
        "<assistant>one two three</assistant><user>second?</user><assistant>"
    )
    history = [ChatMessage(role=MessageRole.USER, content="earlier")]
    await say(chat_engine, how, "third?", chat_history=history)
    assert said(chat_engine.chat_history)[:2] == [("user", "earlier"), ("user", "third?")]
    chat_engine.reset()
    assert chat_engine.chat_history == []


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("template", [None, TEMPLATE, PromptTemplate("{context_str} {query_str}")])
async def test_the_prompt_is_that_of_the_ordinary_chat_engine(how: str, template: Any) -> None:
    prompts = []
    history = [
        ChatMessage(role=MessageRole.USER, content="hello"),
        ChatMessage(role=MessageRole.ASSISTANT, content="hi"),
    ]
    for kind in (StreamingContextChatEngine, ContextChatEngine):
        engine = FakeEngine()
        chat_engine = kind.from_defaults(
            ScriptedRetriever([[node(" a\n", page=3)], [node("b")]]),
            llm=Stream2LLM(engine=engine),
            memory=ChatMemoryBuffer.from_defaults(chat_history=[*history], token_limit=1000),
            prefix_messages=[
                ChatMessage(role=MessageRole.SYSTEM, content=" Be brief."),
                ChatMessage(role=MessageRole.USER, content="One more thing."),
            ],
            context_template=template,
        )
        await say(chat_engine, how)
        prompts.append(engine.prompt)
        engine.close()
    assert prompts[0] == prompts[1]


@pytest.mark.parametrize("how", ["achat", "astream_chat"])
async def test_llama_index_s_newer_memory(llm: Stream2LLM, engine: FakeEngine, how: str) -> None:
    memory = Memory.from_defaults(token_limit=1000)
    chat_engine = made(llm, ScriptedRetriever([[node("a")]]), memory=memory)
    for message in ("first?", "second?"):
        await say(chat_engine, how, message)
    assert "<user>first?</user><assistant>one two three" in engine.sessions[1].prompt
    assert len(await memory.aget_all()) == 4
    store: Any = memory.sql_store
    await store._async_engine.dispose()


@pytest.mark.parametrize("how", HOW)
async def test_braces_in_what_is_said_stay_as_they_are(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    chat_engine = made(llm, ScriptedRetriever([[node("{query_str}")]]))
    for message in ("What is {context_str}?", "And {this}?"):
        response = await say(chat_engine, how, message)
        assert response.response == "one two three"
    assert "<user>What is {context_str}?</user>" in engine.sessions[1].prompt
    assert engine.sessions[1].prompt.startswith("<system>Read:\n{query_str}\nBe brief.")


async def test_a_streamed_response_returns_at_once_and_its_sources_fill_up(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    gate = Gate()
    gate.open = False
    retriever = ScriptedRetriever([[node("a")], gate, [node("b")]], engine)
    response = await made(llm, retriever).astream_chat("what?")
    assert isinstance(response, StreamingAgentChatResponse)
    assert not texts(response)
    assert not response.sources
    # Nobody reads the answer yet, and still retrieval and prefill go on.
    await engine.until_sent("a")
    assert texts(response) == ["a"]
    gate.open = True
    tokens = response.async_response_gen()
    assert await anext(tokens) == "one "
    assert texts(response) == ["a", "b"]
    assert [token async for token in tokens] == ["two ", "three"]
    assert len(response.sources) == 1


@pytest.mark.parametrize("how", HOW)
async def test_without_nodes_the_earlier_ones_count(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    chat_engine = made(llm, ScriptedRetriever([]))
    response = await say(chat_engine, how, prev_chunks=[node("earlier")])
    assert texts(response) == ["earlier"]
    assert "Read:\nearlier\n" in engine.prompt
    response = await say(chat_engine, how, "again?")
    assert (response.response, response.source_nodes) == ("Empty Response", [])
    assert engine.sessions[1].operations[-1] == ("abort", "")
    # As LlamaIndex does.
    assert said(chat_engine.chat_history)[-1] == ("assistant", "Empty Response")


@pytest.mark.parametrize("how", HOW)
async def test_an_error_ends_the_turn_and_leaves_the_conversation(
    llm: Stream2LLM, engine: FakeEngine, recorder: Recorder, how: str
) -> None:
    retriever = ScriptedRetriever([[node("a")], ConnectionError("gone")], engine)
    chat_engine = made(llm, retriever)
    with pytest.raises(ContextSourceError, match="gone"):
        await say(chat_engine, how)
    assert engine.operations[-1] == ("abort", "")
    assert chat_engine.chat_history == []
    assert ("StreamChatErrorEvent" in recorder.names) == ("stream" in how)


@pytest.mark.parametrize("read", [False, True])
async def test_dropping_a_response_ends_retrieval_and_answer(
    llm: Stream2LLM, engine: FakeEngine, read: bool
) -> None:
    gate = Gate()
    gate.open = read
    engine.reply = lambda _: "word " * 100_000
    retriever = ScriptedRetriever([[node("a")], gate], engine)
    chat_engine = made(llm, retriever)
    response = await chat_engine.astream_chat("what?")
    await engine.until_sent("a")
    if read:
        tokens = response.async_response_gen()
        await anext(tokens)
        await tokens.aclose()
        del tokens
    del response
    await engine.until_aborted()
    async with asyncio.timeout(20):
        while not retriever.closed:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
    assert chat_engine.chat_history == []
    me = asyncio.current_task()
    assert [task for task in asyncio.all_tasks() if task is not me and not task.done()] == []


async def test_cancelling_a_turn_ends_retrieval_and_session(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    never = Gate()
    never.open = False
    retriever = ScriptedRetriever([[node("a")], never], engine)
    chat_engine = made(llm, retriever)
    task = asyncio.create_task(chat_engine.achat("what?"))
    await engine.until_sent("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.until_aborted()
    assert chat_engine.chat_history == []


@pytest.mark.parametrize("how", HOW)
async def test_observers_hear_of_a_turn(engine: FakeEngine, recorder: Recorder, how: str) -> None:
    callbacks = Callbacks()
    retriever = ScriptedRetriever([[node("a")], [node("b")]], engine)
    retriever.callback_manager = callbacks.manager
    chat_engine = made(Stream2LLM(engine=engine, callback_manager=callbacks.manager), retriever)
    chat_engine.callback_manager = callbacks.manager
    await say(chat_engine, how)
    names = [name for name in recorder.names if "InProgress" not in name]
    kinds = [name for name in names if not name.startswith("StreamChat")]
    assert kinds.index("SynthesizeStartEvent") < kinds.index("LLMChatStartEvent")
    assert kinds.index("RetrievalEndEvent") < kinds.index("LLMChatEndEvent")
    assert kinds.count("ContextAppendEvent") == 2
    if "stream" in how:
        deltas = [e.delta for e in recorder.events if "Delta" in e.class_name()]
        assert deltas == ["one ", "two ", "three"]
        assert names[-1] == "StreamChatEndEvent"
    kinds = ["synthesize", "retrieve", "llm"]
    pairs = [f"{kind} {end}" for kind in kinds for end in ("start", "end")]
    assert sorted(callbacks.seen) == sorted(pairs)


@pytest.mark.parametrize("how", HOW)
async def test_an_index_becomes_a_streaming_chat_engine(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    index = VectorStoreIndex.from_documents(
        [Document(text="alpha"), Document(text="beta")], embed_model=MockEmbedding(embed_dim=4)
    )
    chat_engine = as_streaming_chat_engine(
        index,
        llm=llm,
        similarity_top_k=2,
        context_template=TEMPLATE,
        memory=ChatMemoryBuffer.from_defaults(token_limit=1000),
    )
    response = await say(chat_engine, how)
    assert sorted(texts(response)) == ["alpha", "beta"]
    assert engine.operations[0] == ("append", "<system>Read:\n")


def test_no_loop_is_needed(llm: Stream2LLM) -> None:
    class Plain(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [node("a")]

    chat_engine = made(llm, Plain())
    assert isinstance(chat_engine.chat("what?"), AgentChatResponse)
    assert "".join(chat_engine.stream_chat("and?").response_gen) == "one two three"


def test_it_is_made_with_the_arguments_of_the_ordinary_one() -> None:
    for name in ("from_defaults", "__init__", "chat", "astream_chat"):
        ours = inspect.signature(getattr(StreamingContextChatEngine, name)).parameters
        theirs = inspect.signature(getattr(ContextChatEngine, name)).parameters
        assert list(ours) == list(theirs)
        assert [each.default for each in ours.values()] == [
            each.default for each in theirs.values()
        ]


def test_what_cannot_be_streamed_into_is_refused(llm: Stream2LLM) -> None:
    with pytest.raises(UnsupportedFeatureError, match="MockLLM"):
        made(MockLLM(), ScriptedRetriever([]))
    for template in (
        "no slot",
        "{context_str} {context_str}",
        PromptTemplate("{context_str}", function_mappings={"context_str": lambda **_: "x"}),
    ):
        with pytest.raises(PromptTemplateError):
            made(llm, ScriptedRetriever([]), context_template=template)
