"""Retrieval and prefill overlap, whichever way a query is asked."""

from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, VectorStoreIndex
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import RichPromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever

from llama_index.llms.stream2llm import (
    NodeUpdate,
    Stream2LLM,
    StreamingQueryEngine,
    as_streaming_query_engine,
)
from stream2llm_engine import UnsupportedFeatureError
from stream2llm_rag import PromptTemplateError
from tests.integrations.llama_index.asking import HOW, TEMPLATE, ask, made, texts
from tests.integrations.llama_index.fakes import FakeEngine, Gate, ScriptedRetriever, node


@pytest.mark.parametrize("how", HOW)
async def test_nodes_are_sent_while_the_retriever_searches(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    # The retriever goes on only when the engine has got what it found.
    retriever = ScriptedRetriever([[node("a", tag=1)], [node("b"), node("c")]], engine)
    response = await ask(made(llm, retriever, how), how)
    assert engine.operations == [
        ("append", "<user>Read:\n"),
        ("append", "tag: 1\n\na"),
        ("append", "\n\nb\n\nc"),
        ("finalize", "\nQ: what?</user><assistant>"),
    ]
    assert response.response == "one two three"
    assert texts(response) == ["a", "b", "c"]
    metadata = dict(response.metadata or {})
    report = metadata.pop("stream2llm")
    assert metadata == {"id-a": {"tag": 1}, "id-b": {}, "id-c": {}}
    suffix = len("\nQ: what?</user><assistant>")
    assert report["prefilled_before_final"] == report["prompt_tokens"] - suffix > 0
    assert report["retrieval_s"] >= 0
    assert report["left_out"] == []
    assert retriever.closed == 1


@pytest.mark.parametrize("how", HOW)
async def test_an_update_replaces_nodes_in_the_prompt_and_among_the_sources(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    update = NodeUpdate([node("c"), node("a")])
    retriever = ScriptedRetriever([[node("a"), node("b")], update], engine)
    response = await ask(made(llm, retriever, how), how)
    assert engine.operations == [
        ("append", "<user>Read:\n"),
        ("append", "a\n\nb"),
        ("update", "<user>Read:\na\n\nc"),
        ("finalize", "\nQ: what?</user><assistant>"),
    ]
    assert texts(response) == ["c", "a"]
    assert (response.metadata or {}).keys() == {"id-a", "id-c", "stream2llm"}


@pytest.mark.parametrize("how", HOW)
async def test_a_ranking_is_followed_where_the_retriever_says_so(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever([[node("a"), node("b")], NodeUpdate([node("b"), node("a")])])
    await ask(made(llm, retriever, how), how)
    assert "a\n\nb" in engine.prompt
    assert [kind for kind, _ in engine.operations] == ["append", "append", "finalize"]
    retriever.order = "rank"
    engine.sessions.clear()
    await ask(made(llm, retriever, how), how)
    assert "b\n\na" in engine.prompt


async def test_an_update_may_empty_a_prompt_that_begins_with_the_nodes(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    """A session, which cannot be empty, then starts anew."""
    template = PromptTemplate("{context_str}\nQ: {query_str}")
    llm.chat_template_kwargs = {"chat_template": "{{ messages[0].content }}"}
    for last, prompt, operation in (
        ([[node("b")]], "b\nQ: what?", ("update", "b")),
        # A source without text.
        ([[node("")]], "\nQ: what?", ("update", "\n")),
    ):
        engine.sessions.clear()
        retriever = ScriptedRetriever([[node("a")], NodeUpdate(), *last])
        await made(llm, retriever, text_qa_template=template).aquery("what?")
        assert engine.prompt == prompt
        assert operation in engine.operations


@pytest.mark.parametrize("how", HOW)
async def test_a_fusion_of_indices_streams(llm: Stream2LLM, engine: FakeEngine, how: str) -> None:
    slow = ScriptedRetriever([[node("a", 0.9)], [node("b", 0.8)]], engine)
    fusion = QueryFusionRetriever([slow], llm=MockLLM(), num_queries=1, similarity_top_k=2)
    response = await ask(made(llm, fusion, how), how)
    # The retriever goes on only when the engine has got what it found.
    assert [text for _, text in engine.operations[1:3]] == ["a", "\n\nb"]
    assert texts(response) == ["a", "b"]


def test_no_loop_is_needed(llm: Stream2LLM, engine: FakeEngine) -> None:
    retriever = ScriptedRetriever([[node("a")], [node("b")]], engine)
    assert str(made(llm, retriever).query("what?")) == "one two three"
    assert "".join(made(llm, ScriptedRetriever([[node("a")]]), "stream").query("?").response_gen)


async def test_a_streamed_response_returns_at_once_and_its_sources_fill_up(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    gate = Gate()
    gate.open = False
    retriever = ScriptedRetriever([[node("a")], gate, [node("b")]], engine)
    response = await made(llm, retriever, "stream").aquery("what?")
    assert isinstance(response, AsyncStreamingResponse)
    assert texts(response) == []
    # Nobody reads the answer yet, and still retrieval and prefill go on.
    await engine.until_sent("a")
    assert texts(response) == ["a"]
    gate.open = True
    assert await anext(response.response_gen) == "one "
    assert texts(response) == ["a", "b"]
    await response.response_gen.aclose()


async def test_a_sync_streamed_response_returns_at_once_too(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    gate = Gate()
    gate.open = False
    retriever = ScriptedRetriever([[node("a")], gate, [node("b")]], engine)
    response = made(llm, retriever, "stream").query("what?")
    assert isinstance(response, StreamingResponse)
    await engine.until_sent("a")
    assert texts(response) == ["a"]
    gate.open = True
    assert list(response.response_gen) == ["one ", "two ", "three"]
    assert texts(response) == ["a", "b"]


async def test_str_of_an_async_response_is_an_error_and_no_deadlock(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    response = await made(llm, ScriptedRetriever([[node("a")]]), "stream").aquery("what?")
    with pytest.raises(UnsupportedFeatureError, match="get_response"):
        str(response)


@pytest.mark.parametrize("how", HOW)
async def test_any_retriever_will_do(llm: Stream2LLM, engine: FakeEngine, how: str) -> None:
    index = VectorStoreIndex.from_documents(
        [Document(text="alpha"), Document(text="beta")], embed_model=MockEmbedding(embed_dim=4)
    )
    query_engine = as_streaming_query_engine(
        index, llm=llm, streaming="stream" in how, similarity_top_k=2, text_qa_template=TEMPLATE
    )
    assert isinstance(query_engine, StreamingQueryEngine)
    response = await ask(query_engine, how)
    assert sorted(texts(response)) == ["alpha", "beta"]
    assert engine.operations[0] == ("append", "<user>Read:\n")
    assert engine.operations[-1][0] == "finalize"


@pytest.mark.parametrize("template", [None, TEMPLATE, RichPromptTemplate("{{context_str}}")])
def test_the_prompt_is_that_of_the_ordinary_query_engine(template: Any) -> None:
    chunks = [[node(" a\n", page=3)], [node("b"), node("")], [node("c")]]
    prompts = []
    for kind in (StreamingQueryEngine, RetrieverQueryEngine):
        engine = FakeEngine()
        llm = Stream2LLM(engine=engine)
        kind.from_args(ScriptedRetriever(chunks), llm=llm, text_qa_template=template).query("what?")
        prompts.append(engine.prompt)
        engine.close()
    assert prompts[0] == prompts[1]
    assert "page: 3\n\n a\n\nb\n\nc" in prompts[0]


def test_simple_summarize_joins_nodes_by_lines(llm: Stream2LLM, engine: FakeEngine) -> None:
    retriever = ScriptedRetriever([[node("a")], [node("b")]])
    made(llm, retriever, response_mode="simple_summarize").query("what?")
    assert "Read:\na\nb\nQ:" in engine.prompt


async def test_a_template_with_the_query_first_overlaps_too(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    template = PromptTemplate("Q: {query_str}\n{context_str}")
    retriever = ScriptedRetriever([[node("a")], [node("b")]], engine)
    await made(llm, retriever, text_qa_template=template).aquery("what?")
    assert engine.operations[0] == ("append", "<user>Q: what?\n")
    assert engine.operations[-1] == ("finalize", "</user><assistant>")


async def test_prompts_can_be_read_and_replaced(llm: Stream2LLM, engine: FakeEngine) -> None:
    llm.system_prompt = "Be kind."
    query_engine = made(llm, ScriptedRetriever([[node("a")]]), text_qa_template=None)
    assert "response_synthesizer:text_qa_template" in query_engine.get_prompts()
    query_engine.update_prompts({"response_synthesizer:text_qa_template": TEMPLATE})
    for _ in range(2):
        await query_engine.aquery("what?")
    prompt = "<system>Be kind.</system><user>Read:\na\nQ: what?</user><assistant>"
    assert [session.prompt for session in engine.sessions] == [prompt] * 2


@pytest.mark.parametrize(
    "template",
    [
        PromptTemplate("No slot: {query_str}"),
        PromptTemplate("{context_str} {context_str} {query_str}"),
        PromptTemplate("{context_str}", function_mappings={"context_str": lambda **_: "x"}),
    ],
)
@pytest.mark.parametrize("how", HOW)
async def test_a_template_that_cannot_hold_the_context_is_refused_by_the_call(
    llm: Stream2LLM, engine: FakeEngine, how: str, template: PromptTemplate
) -> None:
    retriever = ScriptedRetriever([[node("a")]])
    query_engine = made(llm, retriever, how, text_qa_template=template)
    with pytest.raises(PromptTemplateError):
        query_engine.query("?") if how in ("query", "stream") else await query_engine.aquery("?")
    assert engine.sessions == []
    assert retriever.closed == 0


@pytest.mark.parametrize("how", HOW)
async def test_without_nodes_the_model_is_not_asked(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    response = await ask(made(llm, ScriptedRetriever([[]]), how), how)
    assert response.response == "Empty Response"
    assert response.source_nodes == []
    assert engine.operations == [("append", "<user>Read:\n"), ("abort", "")]
