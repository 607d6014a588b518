"""The chain, on the fake engine.

``ScriptedRetriever(engine=...)`` yields a document only after the engine got the one before: what
does not overlap fails.
"""

import asyncio
import threading
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda

from langchain_stream2llm import (
    ChatStream2LLM,
    DocumentDelta,
    create_streaming_rag_chain,
    materialize,
)
from langchain_stream2llm._context_prompt import (
    DEFAULT_DOCUMENT_PROMPT,
    ContextFormat,
    ContextPrompt,
)
from langchain_stream2llm._live_prompt import LivePrompt, LivePromptValue
from stream2llm_engine import EngineDeadError, InvalidRequestError, UnsupportedFeatureError
from stream2llm_rag import ContextSourceError, PromptTemplateError
from tests.integrations.langchain.fakes import (
    FakeEngine,
    Recorder,
    ScriptedRetriever,
    docs,
    eventually,
)

INPUT = {"question": "why?", "manner": "kind"}
RENDERED = "<system>Be kind.</system><user>Read:\none\n\ntwo\n\nthree\nQ: why?</user><assistant>"


@pytest.fixture
def retriever(engine: FakeEngine) -> ScriptedRetriever:
    return ScriptedRetriever(deltas=[docs("one"), docs("two"), docs("three")], engine=engine)


@pytest.fixture
def chain(retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM) -> Any:
    return create_streaming_rag_chain(retriever, prompt, llm)


async def call(chain: Runnable[Any, Any], how: str, values: Any = INPUT, config: Any = None) -> Any:
    """Returns the answer of one call, whichever method gives it."""
    match how:
        case "invoke":
            return await asyncio.to_thread(chain.invoke, values, config)
        case "ainvoke":
            return await chain.ainvoke(values, config)
        case "batch":
            return (await asyncio.to_thread(chain.batch, [values], config))[0]
        case "abatch":
            return (await chain.abatch([values], config))[0]
        case "stream":
            chunks = await asyncio.to_thread(lambda: list(chain.stream(values, config)))
        case _:
            chunks = [chunk async for chunk in chain.astream(values, config)]
    assert len(chunks) > 1
    return reduce(add, chunks)


EVERY_CALL = pytest.mark.parametrize(
    "how", ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"]
)


@EVERY_CALL
async def test_retrieval_and_prefill_overlap_in_every_method(
    chain: Runnable[Any, Any], engine: FakeEngine, how: str
) -> None:
    message = await call(chain, how)
    assert message.text == f"saw {RENDERED}"
    assert engine.operations == [
        ("append", "<system>Be kind.</system><user>Read:\n"),
        ("append", "one"),
        ("append", "\n\ntwo"),
        ("append", "\n\nthree"),
        ("finalize", "\nQ: why?</user><assistant>"),
    ]
    assert message.usage_metadata["input_tokens"] == len(RENDERED)
    report = message.response_metadata["stream2llm"]
    assert report["prefilled_before_final"] == len(RENDERED) - len("\nQ: why?</user><assistant>")
    assert report["retrieval_s"] > 0
    assert len(report["document_ids"]) == 3


@EVERY_CALL
async def test_the_prompt_is_the_one_an_ordinary_chain_builds(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    ordinary = prompt | llm
    await ordinary.ainvoke({**INPUT, "context": "one\n\ntwo\n\nthree"})
    await call(create_streaming_rag_chain(retriever, prompt, llm), how)
    first, second = ("".join(text for _, text in s.operations) for s in engine.sessions)
    assert first == second == RENDERED


async def test_documents_may_be_replaced_and_retracted(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    retriever = ScriptedRetriever(
        deltas=[
            docs(a="A", b="B"),
            DocumentDelta(docs(b="B2")),
            DocumentDelta(docs(c="C"), retract=["a"]),
        ],
        engine=engine,
    )
    message = await create_streaming_rag_chain(retriever, prompt, llm).ainvoke(INPUT)
    assert [kind for kind, _ in engine.operations] == [
        "append",
        "append",
        "update",
        "update",
        "finalize",
    ]
    assert "Read:\nB2\n\nC\nQ" in message.text
    assert message.response_metadata["stream2llm"]["document_ids"] == ["b", "c"]
    assert message.response_metadata["stream2llm"]["invalidated_tokens"] > 0


async def test_a_whole_new_ranking_is_followed(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    new_ranking = DocumentDelta(docs(b="B", c="C", a="A"), retract=["a", "b"])
    retriever = ScriptedRetriever(deltas=[docs(a="A", b="B"), new_ranking])
    message = await create_streaming_rag_chain(retriever, prompt, llm).ainvoke(INPUT)
    assert "Read:\nB\n\nC\n\nA\nQ" in message.text


async def test_documents_are_written_by_the_document_prompt(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    retriever = ScriptedRetriever(deltas=[[Document(page_content="x", metadata={"page": 3})]] * 2)
    chain = create_streaming_rag_chain(
        retriever,
        prompt,
        llm,
        document_prompt=PromptTemplate.from_template("[p. {page}] {page_content}"),
        document_separator=" + ",
    )
    assert "Read:\n[p. 3] x + [p. 3] x\nQ" in (await chain.ainvoke(INPUT)).text


async def test_names_of_keys_and_variables_are_free(
    retriever: ScriptedRetriever, llm: ChatStream2LLM
) -> None:
    chain = create_streaming_rag_chain(
        retriever,
        PromptTemplate.from_template("{facts} - {query}"),
        llm,
        question_key="query",
        document_variable_name="facts",
    )
    message = await chain.ainvoke({"query": "why?"})
    assert message.text == "saw <user>one\n\ntwo\n\nthree - why?</user><assistant>"


class ListRetriever(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
        return docs(f"{query} one", "two")


@EVERY_CALL
@pytest.mark.parametrize(
    "retriever",
    [
        ListRetriever(),
        ListRetriever().with_config(tags=["t"]),
        RunnableLambda(ListRetriever().invoke),
    ],
    ids=["retriever", "bound", "function"],
)
async def test_a_retriever_that_does_not_stream_works_too(
    retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    message = await call(create_streaming_rag_chain(retriever, prompt, llm), how)
    assert "Read:\nwhy? one\n\ntwo\nQ" in message.text


async def test_no_document_at_all_gives_an_empty_context(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    chain = create_streaming_rag_chain(ScriptedRetriever(deltas=[]), prompt, llm)
    assert "Read:\n\nQ: why?" in (await chain.ainvoke(INPUT)).text


# -- callbacks ------------------------------------------------------------------------------------


@EVERY_CALL
async def test_callbacks_and_usage_are_those_of_an_ordinary_chain(
    chain: Runnable[Any, Any], how: str
) -> None:
    recorder, usage = Recorder(), UsageMetadataCallbackHandler()
    await call(chain, how, config={"callbacks": [recorder, usage]})
    streamed = how.endswith("stream")
    assert recorder.counts == {
        "chain_start": 1,
        "retriever_start": 1,
        "retriever_end": 1,
        "model_start": 1,
        "model_end": 1,
        "chain_end": 1,
        **({"token": len(RENDERED.split(" ")) + 1} if streamed else {}),
    }
    assert usage.usage_metadata["fake"]["input_tokens"] == len(RENDERED)


async def test_events_show_the_documents_and_the_tokens_as_they_come(
    chain: Runnable[Any, Any],
) -> None:
    events: Any = [event async for event in chain.astream_events(INPUT, version="v2")]
    names = [event["event"] for event in events]
    for name in ("on_retriever_start", "on_retriever_end", "on_chat_model_start"):
        assert names.count(name) == 1
    assert names.count("on_chat_model_stream") == len(RENDERED.split(" ")) + 1
    context = [event["data"] for event in events if event["event"] == "on_custom_event"]
    assert [delta[0].page_content for delta in context] == ["one", "two", "three"]
    (end,) = [event["data"] for event in events if event["event"] == "on_chat_model_end"]
    assert end["output"].response_metadata["stream2llm"]["prompt_tokens"] == len(RENDERED)


async def test_a_step_that_only_awaits_the_chain_still_streams_to_events(
    chain: Runnable[Any, Any],
) -> None:
    """As a LangGraph node does, whose graph is streamed."""

    async def node(values: dict[str, Any]) -> Any:
        return await chain.ainvoke(values)

    step = RunnableLambda(node)
    names = [event["event"] async for event in step.astream_events(INPUT, version="v2")]
    assert names.count("on_chat_model_stream") == len(RENDERED.split(" ")) + 1
    assert names.count("on_custom_event") == 3


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_the_newest_event_stream_takes_a_live_prompt(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    context_format = ContextFormat(DEFAULT_DOCUMENT_PROMPT, "\n\n")
    live = LivePrompt(ContextPrompt.from_template(prompt, INPUT, "context", context_format))
    stream = await llm.astream_events(LivePromptValue(live=live), version="v3")
    answer = asyncio.ensure_future(stream.text)
    live.add(docs("one"))
    await engine.until_sent("one")
    live.context.close()
    assert "Read:\none\nQ" in await answer


async def test_the_model_name_is_not_repeated_by_adding_chunks(chain: Runnable[Any, Any]) -> None:
    message = await call(chain, "astream")
    assert message.response_metadata["model_name"] == "fake"


# -- composition ----------------------------------------------------------------------------------


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


def other_model(text: str = "from another model") -> Any:
    return GenericFakeChatModel(messages=iter([text] * 10))


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


async def test_a_model_with_fallbacks_still_overlaps(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
) -> None:
    fallbacks = llm.with_fallbacks([materialize | other_model()])
    await create_streaming_rag_chain(retriever, prompt, fallbacks).ainvoke(INPUT)
    assert len(engine.operations) == 5


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


# -- what goes wrong ------------------------------------------------------------------------------


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
async def test_an_engine_error_reaches_the_caller_and_stops_the_retriever(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    engine.fail_open = EngineDeadError("gone")
    with pytest.raises(EngineDeadError, match="gone"):
        await call(create_streaming_rag_chain(retriever, prompt, llm), how)
    await asyncio.to_thread(eventually, lambda: len(retriever.closed) == len(retriever.emitted))


@pytest.mark.parametrize("how", ["ainvoke", "abatch", "astream"])
async def test_a_cancelled_consumer_stops_the_retriever_and_the_engine(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    recorder = Recorder()
    chain = create_streaming_rag_chain(retriever, prompt, llm)
    task = asyncio.create_task(call(chain, how, config={"callbacks": [recorder]}))
    await engine.until_sent("one")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert retriever.closed == ["why?"]
    assert engine.operations[-1] == ("abort", "")
    assert recorder.counts["retriever_error"] == 1


async def test_a_consumer_that_leaves_during_the_answer_stops_the_engine(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    stream: Any = chain.astream(INPUT)
    await anext(stream)
    await stream.aclose()
    assert engine.operations[-1] == ("abort", "")


def test_leaving_the_synchronous_stream_stops_the_engine(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    hold = threading.Event()
    hold.set()
    engine.decoding = lambda: asyncio.to_thread(hold.wait)
    engine.reply = lambda _: "many words of an answer"
    stream: Any = chain.stream(INPUT)
    next(stream)
    hold.clear()
    stream.close()
    hold.set()
    eventually(lambda: engine.sessions[0].state in ("aborted", "finished"))


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


async def test_input_without_a_variable_is_an_error(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    with pytest.raises(InvalidRequestError, match="question"):
        await chain.ainvoke({"manner": "kind"})
    with pytest.raises(InvalidRequestError, match="manner"):
        await chain.ainvoke({"question": "why?"})
    assert not engine.sessions


def test_a_prompt_without_the_context_is_refused_at_once(
    retriever: ScriptedRetriever, llm: ChatStream2LLM
) -> None:
    with pytest.raises(PromptTemplateError, match="context"):
        create_streaming_rag_chain(retriever, ChatPromptTemplate.from_template("{question}"), llm)


async def test_an_unaware_alternative_is_an_error_not_a_short_prompt(
    retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    either = llm.configurable_alternatives(ConfigurableField(id="llm"), other=other_model())
    chain = create_streaming_rag_chain(retriever, prompt, either)
    retriever.engine = None
    with pytest.raises(UnsupportedFeatureError, match="materialize"):
        await chain.ainvoke(INPUT, {"configurable": {"llm": "other"}})
