"""Observers of a query see everything an ordinary query engine tells them."""

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.prompts import PromptTemplate
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span_handlers import SimpleSpanHandler

from llama_index.llms.stream2llm import Stream2LLM, StreamingQueryEngine
from stream2llm_rag import ContextSourceError
from tests.integrations.llama_index.fakes import (
    Callbacks,
    FakeEngine,
    Recorder,
    ScriptedRetriever,
    node,
)

HOW = ["query", "aquery", "stream", "astream"]


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    dispatcher = get_dispatcher()
    handler = SimpleSpanHandler()
    dispatcher.add_span_handler(handler)
    yield handler
    dispatcher.span_handlers.remove(handler)


async def ask(engine: FakeEngine, callbacks: Callbacks, how: str) -> Any:
    retriever = ScriptedRetriever([[node("a")], [node("b")]], engine)
    retriever.callback_manager = callbacks.manager
    llm = Stream2LLM(engine=engine)
    query_engine = StreamingQueryEngine.from_args(
        retriever,
        llm=llm,
        callback_manager=callbacks.manager,
        text_qa_template=PromptTemplate("Read:\n{context_str}\nQ: {query_str}"),
        streaming="stream" in how,
    )
    llm.callback_manager = callbacks.manager  # `from_args` sets that of LlamaIndex's settings
    response: Any = (
        query_engine.query("?") if how in ("query", "stream") else await query_engine.aquery("?")
    )
    match how:
        case "stream":
            return response.get_response()
        case "astream":
            return await response.get_response()
        case _:
            return response


@pytest.mark.parametrize("how", HOW)
async def test_all_events_come_in_a_sensible_order(
    engine: FakeEngine, recorder: Recorder, how: str
) -> None:
    response = await ask(engine, Callbacks(), how)
    names = [name for name in recorder.names if name != "LLMChatInProgressEvent"]
    assert sorted(names) == sorted(
        [
            "QueryStartEvent",
            "SynthesizeStartEvent",
            "LLMChatStartEvent",
            "RetrievalStartEvent",
            "ContextAppendEvent",
            "ContextAppendEvent",
            "RetrievalEndEvent",
            "LLMChatEndEvent",
            "SynthesizeEndEvent",
            "QueryEndEvent",
        ]
    )
    assert names[:2] == ["QueryStartEvent", "SynthesizeStartEvent"]
    # Retrieval is within the model's call, not before it: that is the point.
    assert names.index("RetrievalEndEvent") > names.index("LLMChatStartEvent")
    assert names.index("LLMChatEndEvent") > names.index("RetrievalEndEvent")
    assert recorder.of("QueryEndEvent").response.source_nodes == response.source_nodes
    spans = [event.span_id for event in recorder.events]
    assert all(spans), "an event came from outside every span"


@pytest.mark.parametrize("how", HOW)
async def test_observers_read_the_whole_prompt_at_the_end(
    engine: FakeEngine, recorder: Recorder, how: str
) -> None:
    await ask(engine, Callbacks(), how)
    (message,) = recorder.of("LLMChatEndEvent").messages
    assert message.content == "Read:\na\n\nb\nQ: ?"


async def test_events_with_live_nodes_can_be_serialised(
    engine: FakeEngine, recorder: Recorder
) -> None:
    await ask(engine, Callbacks(), "aquery")
    start = recorder.of("LLMChatStartEvent")
    assert start.model_dump()["additional_kwargs"]["live_nodes"].keys() == {
        "id",
        "separator",
        "order",
    }
    assert '"live_nodes":{"id":"' in start.model_dump_json()
    assert "LiveNodes(id=" in repr(start.additional_kwargs)


@pytest.mark.parametrize("how", HOW)
async def test_callbacks_come_in_pairs(engine: FakeEngine, how: str) -> None:
    callbacks = Callbacks()
    await ask(engine, callbacks, how)
    kinds = ["query", "retrieve", "synthesize", "llm"]
    assert sorted(callbacks.seen) == sorted(f"{k} {end}" for k in kinds for end in ("start", "end"))
    assert callbacks.seen[:2] == ["query start", "synthesize start"]
    assert [n.text for n in callbacks.payloads["retrieve"]["nodes"]] == ["a", "b"]
    assert callbacks.payloads["llm"]["response"].raw["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("how", HOW)
async def test_the_streamed_retrieval_is_a_span_of_the_query(
    engine: FakeEngine, spans: SimpleSpanHandler, how: str
) -> None:
    await ask(engine, Callbacks(), how)
    done = {span.id_.rpartition("-")[0].split("-")[0]: span for span in spans.completed_spans}
    retrieval = done["StreamedRetrieval.stream"]
    query = done[f"StreamingQueryEngine.{'_query' if how in ('query', 'stream') else '_aquery'}"]
    assert retrieval.parent_id == query.id_
    assert spans.dropped_spans == []
    assert spans.open_spans == {}


@pytest.mark.parametrize("how", ["query", "aquery"])
async def test_a_retrieval_that_fails_ends_every_span(
    engine: FakeEngine, spans: SimpleSpanHandler, how: str
) -> None:
    retriever = ScriptedRetriever([[node("a")], ConnectionError("gone")], engine)
    query_engine = StreamingQueryEngine.from_args(retriever, llm=Stream2LLM(engine=engine))
    with pytest.raises(ContextSourceError):
        query_engine.query("?") if how == "query" else await query_engine.aquery("?")
    assert spans.open_spans == {}
    assert any("query" in span.id_ for span in spans.dropped_spans)
