"""The query engine has the interface of LlamaIndex's own, and serves the rest of LlamaIndex."""

import inspect

import pytest
from llama_index.core.base.response.schema import PydanticResponse
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from llama_index.llms.stream2llm import Stream2LLM, StreamingQueryEngine
from stream2llm_engine import InvalidRequestError, UnsupportedFeatureError
from tests.integrations.llama_index.asking import HOW, TEMPLATE, ask, made, texts
from tests.integrations.llama_index.fakes import FakeEngine, ScriptedRetriever, node


def test_it_is_made_with_the_arguments_of_the_ordinary_one() -> None:
    for name in ("from_args", "__init__", "with_retriever"):
        ours = inspect.signature(getattr(StreamingQueryEngine, name))
        theirs = inspect.signature(getattr(RetrieverQueryEngine, name))
        assert list(ours.parameters) == list(theirs.parameters)
        defaults = [each.default for each in ours.parameters.values()]
        assert defaults == [each.default for each in theirs.parameters.values()]
    assert inspect.signature(StreamingQueryEngine.from_args) == inspect.signature(
        RetrieverQueryEngine.from_args
    )


class Answer(BaseModel):
    text: str


@pytest.mark.parametrize("how", ["query", "aquery"])
@pytest.mark.parametrize("by", ["output_cls", "structured_llm"])
async def test_the_answer_may_be_an_object(
    llm: Stream2LLM, engine: FakeEngine, how: str, by: str
) -> None:
    engine.reply = lambda _: '{"text": "yes"}'
    retriever = ScriptedRetriever([[node("a")], [node("b")]], engine)
    if by == "output_cls":
        query_engine = made(llm, retriever, output_cls=Answer)
    else:
        query_engine = made(llm.as_structured_llm(Answer), retriever)
    response = await ask(query_engine, how)
    assert isinstance(response, PydanticResponse)
    assert response.response == Answer(text="yes")
    assert texts(response) == ["a", "b"]
    assert response.metadata is not None
    assert response.metadata["stream2llm"]["output_tokens"] == 2
    (session,) = engine.sessions
    assert session.sampling_params.structured_outputs.json == Answer.model_json_schema()
    assert "JSON schema to follow" in session.prompt
    engine.reply = lambda _: '{"text": "ye'
    engine.sessions.clear()
    with pytest.raises(InvalidRequestError, match="no complete Answer"):
        await ask(query_engine, how)


def test_what_cannot_be_streamed_into_is_refused(llm: Stream2LLM) -> None:
    retriever = ScriptedRetriever([])
    for kwargs, words in (
        ({"response_mode": "tree_summarize"}, "compact"),
        ({"response_mode": "refine"}, "compact"),
        ({"how": "stream", "output_cls": Answer}, "astream_structured_predict"),
    ):
        with pytest.raises(UnsupportedFeatureError, match=words):
            made(llm, retriever, **kwargs)
    filtering = get_response_synthesizer(llm=llm, structured_answer_filtering=True)
    with pytest.raises(UnsupportedFeatureError, match="structured_answer_filtering"):
        made(llm, retriever, response_synthesizer=filtering)
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


@pytest.mark.parametrize("selector", ["text", "function call"])
async def test_it_serves_a_router(llm: Stream2LLM, engine: FakeEngine, selector: str) -> None:
    retriever = ScriptedRetriever([[node("a")], [node("b")]])
    tool = QueryEngineTool.from_defaults(made(llm, retriever), description="everything")
    choice = '[{"choice": 1, "reason": "only one"}]'
    call = '[{"name": "SingleSelection", "parameters": {"index": 1, "reason": "only one"}}]'
    written = choice if selector == "text" else call
    engine.reply = lambda prompt: "answer" if "Read:" in prompt else written
    router = RouterQueryEngine.from_defaults(
        [tool],
        llm=llm,
        # LlamaIndex's own choice for a model with tools is a forced call.
        selector=LLMSingleSelector.from_defaults(llm=llm) if selector == "text" else None,
    )
    assert str(await router.aquery("what?")) == "answer"
    assert str(router.query("what?")) == "answer"
    constrained = engine.sessions[0].sampling_params.structured_outputs is not None
    assert constrained == (selector == "function call")


@pytest.mark.parametrize("how", HOW)
async def test_options_of_a_query_go_before_those_of_the_model(
    engine: FakeEngine, how: str
) -> None:
    llm = Stream2LLM(engine=engine, temperature=0, tenant="gold", priority=2, timeout=60)
    gold = made(llm, ScriptedRetriever([[node("a")]], engine), how)
    silver = gold.with_options(tenant="silver", priority=-1).with_options(timeout=30, max_tokens=5)
    for query_engine in (gold, silver, silver.with_retriever(ScriptedRetriever([[node("b")]]))):
        assert (await ask(query_engine, how)).response == "one two three"
    names = ("tenant", "priority", "deadline_s")
    options = [tuple(session.options[name] for name in names) for session in engine.sessions]
    assert options == [("gold", 2, 60), ("silver", -1, 30), ("silver", -1, 30)]
    assert [session.sampling_params.max_tokens for session in engine.sessions[1:]] == [5, 5]
    with pytest.raises(UnsupportedFeatureError, match="tenent"):
        await ask(gold.with_options(tenent="silver"), how)


async def test_an_object_may_have_options_too(llm: Stream2LLM, engine: FakeEngine) -> None:
    engine.reply = lambda _: '{"text": "yes"}'
    query_engine = made(llm, ScriptedRetriever([[node("a")]]), output_cls=Answer)
    response = await query_engine.with_options(tenant="gold", min_tokens=3).aquery("what?")
    assert response.response == Answer(text="yes")
    (session,) = engine.sessions
    assert session.options["tenant"] == "gold"
    assert session.sampling_params.min_tokens == 3
    assert session.sampling_params.structured_outputs.json == Answer.model_json_schema()
