"""The chain around models: options, wrappers, fallbacks, other models, the cache."""

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda

from langchain_stream2llm import ChatStream2LLM, create_streaming_rag_chain, materialize
from stream2llm_engine import EngineDeadError, InvalidRequestError, UnsupportedFeatureError
from tests.integrations.langchain.calls import EVERY_CALL, INPUT, RENDERED, call
from tests.integrations.langchain.fakes import FakeEngine, ScriptedRetriever, docs


def other_model(text: str = "from another model") -> Any:
    return GenericFakeChatModel(messages=iter([text] * 10))


@EVERY_CALL
async def test_it_composes_with_a_parser_and_with_config(
    chain: Runnable[Any, Any], how: str
) -> None:
    composed = (chain | StrOutputParser()).with_config(tags=["x"])
    assert await call(composed, how) == f"saw {RENDERED}"


@EVERY_CALL
async def test_options_bound_to_the_chain_or_the_model_reach_the_engine(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    chain = create_streaming_rag_chain(retriever, prompt, llm.bind(stop=["a"]).with_retry())
    await call(chain, how)
    await call(create_streaming_rag_chain(retriever, prompt, llm).bind(stop=["b"]), how)
    assert [session.sampling_params.stop for session in engine.sessions] == [["a"], ["b"]]


@EVERY_CALL
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda llm: llm | StrOutputParser(),
        lambda llm: llm.with_fallbacks([other_model()]) | StrOutputParser(),
        lambda llm: llm.bind(stop=["a"]).with_retry() | StrOutputParser(),
        lambda llm: llm.with_fallbacks([materialize | other_model()]),
    ],
    ids=["parser", "fallbacks-parser", "bound-parser", "materialize"],
)
async def test_a_model_in_wrappers_still_overlaps(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    wrapped: Any,
    how: str,
) -> None:
    await call(create_streaming_rag_chain(retriever, prompt, wrapped(llm)), how)
    assert len(engine.operations) == 5


async def test_a_configurable_model_overlaps(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
) -> None:
    configurable = llm.configurable_fields(temperature=ConfigurableField(id="heat"))
    chain = create_streaming_rag_chain(retriever, prompt, configurable)
    await chain.ainvoke(INPUT, {"configurable": {"heat": 0.7}})
    assert engine.sessions[0].sampling_params.temperature == 0.7
    assert len(engine.operations) == 5


@EVERY_CALL
async def test_another_model_waits_for_the_whole_prompt(
    prompt: ChatPromptTemplate, how: str
) -> None:
    seen = []

    def answer(value: Any) -> Any:
        seen.append(value.to_string())
        return "ok fine"

    retriever = ScriptedRetriever(deltas=[docs("one"), docs("two")])
    chain = create_streaming_rag_chain(retriever, prompt, RunnableLambda(answer) | other_model())
    assert (await call(chain, how)).text == "from another model"
    assert seen == ["System: Be kind.\nHuman: Read:\none\n\ntwo\nQ: why?"]


@EVERY_CALL
async def test_a_fallback_gets_the_whole_prompt(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    engine.fail_open = EngineDeadError("gone")
    retriever.engine = None
    chain = create_streaming_rag_chain(retriever, prompt, llm.with_fallbacks([other_model()]))
    assert (await call(chain, how)).text == "from another model"


async def test_a_retry_replays_the_context(
    retriever: ScriptedRetriever, prompt: ChatPromptTemplate, engine: FakeEngine
) -> None:
    failures = [EngineDeadError("first"), None]

    class Flaky(FakeEngine):
        async def open_session(self, *args: Any, **kwargs: Any) -> Any:
            if (failure := failures.pop(0)) is not None:
                raise failure
            return await engine.open_session(*args, **kwargs)

    llm = ChatStream2LLM(engine=Flaky()).with_retry(wait_exponential_jitter=False)
    message = await create_streaming_rag_chain(retriever, prompt, llm).ainvoke(INPUT)
    assert message.text == f"saw {RENDERED}"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_the_cache_is_left_alone(
    prompt: ChatPromptTemplate, engine: FakeEngine, how: str
) -> None:
    cache = InMemoryCache()
    llm = ChatStream2LLM(engine=engine, cache=cache)
    for text in ("one", "two"):
        chain = create_streaming_rag_chain(ScriptedRetriever(deltas=[docs(text)]), prompt, llm)
        assert f"Read:\n{text}\nQ" in (await call(chain, how)).text
    assert not cache._cache
    await call(llm, how, "hi")
    await call(llm, how, "hi")
    assert len(engine.sessions) == 3


async def test_an_unaware_alternative_is_an_error_not_a_short_prompt(
    retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    either = llm.configurable_alternatives(ConfigurableField(id="llm"), other=other_model())
    chain = create_streaming_rag_chain(retriever, prompt, either)
    retriever.engine = None
    with pytest.raises(UnsupportedFeatureError, match="materialize"):
        await chain.ainvoke(INPUT, {"configurable": {"llm": "other"}})


# -- whose request it is, and how urgent ----------------------------------------------------------

URGENT = {"tenant": "gold", "priority": -1, "deadline_s": 60}


@EVERY_CALL
@pytest.mark.parametrize("where", ["call", "config", "bound to the model"])
async def test_scheduling_options_reach_the_engine(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
    where: str,
) -> None:
    opened: list[dict[str, Any]] = []
    opening = engine.open_session

    async def open_session(*args: Any, **options: Any) -> Any:
        opened.append(options)
        return await opening(*args, **options)

    engine.open_session = open_session  # type: ignore[method-assign]
    if where == "bound to the model":
        await call(create_streaming_rag_chain(retriever, prompt, llm.bind(**URGENT)), how)
    elif where == "config":
        chain = create_streaming_rag_chain(retriever, prompt, llm)
        await call(chain, how, INPUT, {"configurable": {"stream2llm": URGENT}})
    else:
        await call(create_streaming_rag_chain(retriever, prompt, llm).bind(**URGENT), how)
    assert opened[0].items() >= URGENT.items()


async def test_options_of_the_call_go_before_those_of_the_config(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    config: Any = {"configurable": {"stream2llm": {"tenant": "silver"}}}
    await chain.bind(tenant="gold").ainvoke(INPUT, config)
    assert engine.sessions[0].tenant == "gold"


async def test_the_config_reaches_a_chain_inside_another_step(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    async def step(values: Any) -> Any:
        return await chain.ainvoke(values)

    config: Any = {"configurable": {"stream2llm": {"tenant": "gold"}}}
    await RunnableLambda(step).ainvoke(INPUT, config)
    assert engine.sessions[0].tenant == "gold"


async def test_an_unknown_scheduling_option_is_an_error(chain: Runnable[Any, Any]) -> None:
    config: Any = {"configurable": {"stream2llm": {"tennant": "gold"}}}
    with pytest.raises(InvalidRequestError, match="tennant"):
        await chain.ainvoke(INPUT, config)


@EVERY_CALL
async def test_a_fallback_without_an_engine_is_not_bothered_with_them(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    class Picky(GenericFakeChatModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            assert not kwargs.keys() & URGENT.keys()
            return super()._generate(*args, **kwargs)

    engine.fail_open = EngineDeadError("gone")
    fallback = Picky(messages=iter(["fine"]))
    chain = create_streaming_rag_chain(
        ScriptedRetriever(deltas=[docs("one")]), prompt, llm.with_fallbacks([fallback])
    )
    assert (await call(chain.bind(**URGENT), how)).text == "fine"
