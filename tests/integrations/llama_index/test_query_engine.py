"""Retrieval and prefill overlap, whichever way a query is asked."""

import asyncio
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    StreamingResponse,
)
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import RichPromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from llama_index.llms.stream2llm import (
    Stream2LLM,
    StreamingQueryEngine,
    as_streaming_query_engine,
)
from stream2llm_engine import PromptTooLongError, UnsupportedFeatureError
from stream2llm_rag import ContextSourceError, PromptTemplateError
from tests.integrations.llama_index.fakes import FakeEngine, Gate, ScriptedRetriever, node

TEMPLATE = PromptTemplate("Read:\n{context_str}\nQ: {query_str}")
HOW = ["query", "aquery", "stream", "astream"]


def made(llm: Stream2LLM, retriever: Any, how: str = "query", **kwargs: Any) -> Any:
    kwargs.setdefault("text_qa_template", TEMPLATE)
    return StreamingQueryEngine.from_args(retriever, llm=llm, streaming="stream" in how, **kwargs)


async def ask(query_engine: Any, how: str) -> Any:
    """Asks in one of the ways; streamed responses are read to the end."""
    match how:
        case "query" | "stream":
            # The loop of this test is running: the call must do without it.
            response = query_engine.query("what?")
            return response.get_response() if how == "stream" else response
        case "aquery":
            return await query_engine.aquery("what?")
        case _:
            return await (await query_engine.aquery("what?")).get_response()


def texts(response: Any) -> list[str]:
    return [source.text for source in response.source_nodes]


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
    assert ["".join(text for _, text in s.operations) for s in engine.sessions] == [prompt] * 2


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
async def test_nodes_that_do_not_fit_are_no_sources(how: str) -> None:
    engine = FakeEngine(limit=90)
    llm = Stream2LLM(engine=engine, max_tokens=20)
    retriever = ScriptedRetriever([[node("a")], [node("b" * 80), node("c")]])
    response = await ask(made(llm, retriever, how), how)
    assert engine.prompt == "<user>Read:\na\n\nc\nQ: what?</user><assistant>"
    assert texts(response) == ["a", "c"]
    metadata = dict(response.metadata or {})
    assert metadata.pop("stream2llm")["left_out"] == ["id-" + "b" * 80]
    assert list(metadata) == ["id-a", "id-c"]
    engine.close()


async def test_a_prompt_without_room_for_any_node_is_a_typed_error() -> None:
    engine = FakeEngine(limit=20)
    with pytest.raises(PromptTooLongError):
        await made(Stream2LLM(engine=engine), ScriptedRetriever([])).aquery("what?")
    engine.close()


@pytest.mark.parametrize("how", HOW)
async def test_without_nodes_the_model_is_not_asked(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    response = await ask(made(llm, ScriptedRetriever([[]]), how), how)
    assert response.response == "Empty Response"
    assert response.source_nodes == []
    assert engine.operations == [("append", "<user>Read:\n"), ("abort", "")]


# -- errors and leaving --------------------------------------------------------------------------


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
    async with asyncio.timeout(20):
        while not retriever.closed:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
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
    engine.wait_until(lambda: engine.operations[-1][0] == "abort")


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


# -- with the rest of LlamaIndex -----------------------------------------------------------------


async def test_what_cannot_be_streamed_into_is_refused(llm: Stream2LLM) -> None:
    class Answer(BaseModel):
        text: str

    retriever = ScriptedRetriever([])
    for kwargs, words in (
        ({"response_mode": "tree_summarize"}, "compact"),
        ({"response_mode": "refine"}, "compact"),
        ({"output_cls": Answer}, "output_cls"),
    ):
        with pytest.raises(UnsupportedFeatureError, match=words):
            made(llm, retriever, **kwargs)
    with pytest.raises(UnsupportedFeatureError, match="MockLLM"):
        StreamingQueryEngine.from_args(retriever, llm=MockLLM())


async def test_a_synthesizer_of_your_own_and_another_retriever(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    synthesizer = get_response_synthesizer(llm=llm, text_qa_template=TEMPLATE)
    first = StreamingQueryEngine(ScriptedRetriever([]), synthesizer)
    second = first.with_retriever(ScriptedRetriever([[node("a")], [node("b")]], engine))
    assert type(second) is StreamingQueryEngine
    assert str(await second.aquery("what?")) == "one two three"
    assert isinstance(second.retriever, ScriptedRetriever)


async def test_it_serves_a_router(llm: Stream2LLM, engine: FakeEngine) -> None:
    retriever = ScriptedRetriever([[node("a")], [node("b")]])
    tool = QueryEngineTool.from_defaults(made(llm, retriever), description="everything")
    choice = '[{"choice": 1, "reason": "only one"}]'
    engine.reply = lambda prompt: "answer" if "Read:" in prompt else choice
    router = RouterQueryEngine(
        selector=LLMSingleSelector.from_defaults(llm=llm), query_engine_tools=[tool], llm=llm
    )
    assert str(await router.aquery("what?")) == "answer"
    assert str(router.query("what?")) == "answer"
