"""Streaming retrievers, and others made to stream."""

import threading
from contextlib import aclosing
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle

from llama_index.llms.stream2llm import NodeUpdate, StreamingRetriever
from stream2llm_engine import InvalidRequestError, UnsupportedFeatureError
from stream2llm_rag import Append, ContextSourceError, ContextTimeoutError, Update
from stream2llm_rag import Document as CoreDocument
from stream2llm_rag.sources import replay
from tests.integrations.llama_index.fakes import (
    Callbacks,
    Gate,
    Recorder,
    ScriptedRetriever,
    node,
)

CHUNKS = [[node("a"), node("b")], [], [node("b"), node("c")]]


class Blocking(BaseRetriever):
    """Has no async implementation, as most retrievers."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.thread = threading.current_thread()
        return [node(query_bundle.query_str)]


async def stream(retriever: StreamingRetriever, query: str = "q") -> list[list[str]]:
    return [[n.text for n in nodes] async for nodes in retriever.astream_retrieve(query)]


def index() -> VectorStoreIndex:
    documents = [Document(text="alpha"), Document(text="beta")]
    return VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))


def texts(nodes: list[NodeWithScore]) -> list[str]:
    return [n.text for n in nodes]


async def test_one_generator_gives_every_method() -> None:
    retriever = ScriptedRetriever(CHUNKS)
    assert await stream(retriever) == [["a", "b"], ["c"]]
    assert texts(await retriever.aretrieve("q")) == ["a", "b", "c"]
    assert texts(retriever.retrieve(QueryBundle("q"))) == ["a", "b", "c"]
    assert retriever.closed == 3


def test_retrieve_works_without_a_loop() -> None:
    assert texts(ScriptedRetriever(CHUNKS).retrieve("q")) == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["stream", "aretrieve", "retrieve"])
async def test_observers_see_one_retrieval(recorder: Recorder, how: str) -> None:
    retriever = ScriptedRetriever(CHUNKS)
    callbacks = Callbacks()
    retriever.callback_manager = callbacks.manager
    match how:
        case "stream":
            await stream(retriever)
        case "aretrieve":
            await retriever.aretrieve("q")
        case _:
            retriever.retrieve("q")
    appended = ["ContextAppendEvent"] * 2 if how == "stream" else []
    assert recorder.names == ["RetrievalStartEvent", *appended, "RetrievalEndEvent"]
    assert texts(recorder.of("RetrievalEndEvent").nodes) == ["a", "b", "c"]
    assert callbacks.seen == ["retrieve start", "retrieve end"]
    assert texts(callbacks.payloads["retrieve"]["nodes"]) == ["a", "b", "c"]


async def test_an_update_replaces_what_was_found(recorder: Recorder) -> None:
    update = NodeUpdate([node("c"), node("a"), node("c")])
    retriever = ScriptedRetriever([[node("a"), node("b")], update, [node("d")]])
    changes = [each async for each in retriever.astream_retrieve("q")]
    assert [type(each) for each in changes] == [list, NodeUpdate, list]
    assert [texts(each) for each in changes] == [["a", "b"], ["c", "a"], ["d"]]
    event = recorder.of("ContextUpdateEvent")
    assert (event.node_ids, event.retracted) == (["id-c", "id-a"], ["id-b"])
    assert texts(recorder.of("RetrievalEndEvent").nodes) == ["c", "a", "d"]
    assert texts(await retriever.aretrieve("q")) == ["c", "a", "d"]
    assert texts(retriever.retrieve("q")) == ["c", "a", "d"]


async def test_an_update_may_leave_nothing() -> None:
    retriever = ScriptedRetriever([[node("a")], NodeUpdate()])
    assert await stream(retriever) == [["a"], []]
    assert await retriever.aretrieve("q") == []


async def test_leaving_a_stream_closes_the_generator() -> None:
    never = Gate()
    never.open = False
    retriever = ScriptedRetriever([[node("a")], never])
    async with aclosing(retriever.astream_retrieve("q")) as chunks:
        assert texts(await anext(chunks)) == ["a"]
    assert retriever.closed == 1


async def test_an_error_passes_and_closes_the_generator() -> None:
    retriever = ScriptedRetriever([[node("a")], ConnectionError("gone")])
    with pytest.raises(ConnectionError, match="gone"):
        await stream(retriever)
    assert retriever.closed == 1


async def test_index_nodes_are_followed() -> None:
    inner = ScriptedRetriever([[node("inner")]])
    index_node = IndexNode(text="see there", index_id="there", obj=inner)
    retriever = ScriptedRetriever([[node("a")], [NodeWithScore(node=index_node, score=1.0)]])
    assert await stream(retriever) == [["a"], ["inner"]]


async def test_a_wrapped_retriever_is_one_chunk_and_one_retrieval(recorder: Recorder) -> None:
    inner = index().as_retriever(similarity_top_k=2)
    wrapped = StreamingRetriever.wrap(inner)
    recorder.events.clear()
    (chunk,) = await stream(wrapped)
    assert sorted(chunk) == ["alpha", "beta"]
    names = [name for name in recorder.names if "Embedding" not in name]
    assert names == ["RetrievalStartEvent", "RetrievalEndEvent", "ContextAppendEvent"]
    assert wrapped.retrieve("q") == inner.retrieve("q")
    assert await wrapped.aretrieve("q") == await inner.aretrieve("q")


async def test_a_retriever_that_blocks_is_kept_off_the_event_loop() -> None:
    # The default of `_aretrieve` calls `_retrieve` on the loop.
    blocking = Blocking()
    assert await stream(StreamingRetriever.wrap(blocking)) == [["q"]]
    assert blocking.thread is not threading.main_thread()
    assert texts(StreamingRetriever.wrap(blocking).retrieve("q")) == ["q"]
    assert blocking.thread is threading.main_thread()


async def test_a_streaming_retriever_is_not_wrapped_twice() -> None:
    retriever = ScriptedRetriever([])
    assert StreamingRetriever.wrap(retriever) is retriever
    wrapped: Any = StreamingRetriever.wrap(Blocking())
    assert StreamingRetriever.wrap(wrapped) is wrapped


async def test_a_wrapped_retriever_that_finds_nothing_yields_nothing() -> None:
    class Empty(Blocking):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return []

    assert await stream(StreamingRetriever.wrap(Empty())) == []


async def test_one_that_says_it_has_no_asynchronous_method_is_called_in_a_thread() -> None:
    class Honest(Blocking):
        async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            raise NotImplementedError

    honest = Honest()
    assert await stream(StreamingRetriever.wrap(honest)) == [["q"]]
    assert honest.thread is not threading.main_thread()


async def test_an_index_whose_store_blocks_is_searched_in_a_thread() -> None:
    """LlamaIndex's vector retriever awaits its store, whose default is a call on the loop."""
    threads = set()

    class Watched(MockEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            threads.add(threading.current_thread())
            return super()._get_query_embedding(query)

    searched = VectorStoreIndex.from_documents(
        [Document(text="alpha")], embed_model=Watched(embed_dim=4)
    )
    assert await stream(StreamingRetriever.wrap(searched.as_retriever())) == [["alpha"]]
    assert threads
    assert threading.main_thread() not in threads


def test_what_is_no_retriever_is_refused() -> None:
    with pytest.raises(UnsupportedFeatureError, match="from_source"):
        StreamingRetriever.wrap(index())  # type: ignore[arg-type]


# -- composed ------------------------------------------------------------------------------------


async def test_merged_retrievers_yield_as_they_find() -> None:
    slow = Gate()
    slow.open = False
    first = ScriptedRetriever([slow, [node("a"), node("c")]])
    merged = StreamingRetriever.merge(first, ScriptedRetriever([[node("b")], [node("c")]]))
    seen = []
    async for nodes in merged.astream_retrieve("q"):
        seen += texts(nodes)
        slow.open = "c" in seen
    assert seen == ["b", "c", "a"]
    assert sorted(texts(merged.retrieve("q"))) == ["a", "b", "c"]


async def test_one_of_several_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    broken = ScriptedRetriever([[node("a")], ConnectionError("gone")])
    other = ScriptedRetriever([[node("b")]])
    merged = StreamingRetriever.merge(broken, other)
    assert sorted(texts(await merged.aretrieve("q"))) == ["a", "b"]
    assert "gone" in caplog.text
    with pytest.raises(ContextSourceError, match="gone"):
        await StreamingRetriever.merge(broken, other, on_error="fail").aretrieve("q")
    with pytest.raises(ContextSourceError, match="gone"):
        await StreamingRetriever.merge(broken, broken).aretrieve("q")
    assert (broken.closed, other.closed) == (4, 2)


def test_merging_nothing_is_an_error() -> None:
    with pytest.raises(InvalidRequestError, match="at least one"):
        StreamingRetriever.merge()


async def test_a_time_limit_ends_the_search(caplog: pytest.LogCaptureFixture) -> None:
    never = Gate()
    never.open = False
    slow = ScriptedRetriever([[node("a")], never])
    limited = slow.with_time_limit(0.05)
    assert texts(await limited.aretrieve("q")) == ["a"]
    assert "in time" in caplog.text
    with pytest.raises(ContextTimeoutError):
        await slow.with_time_limit(0.05, on_timeout="fail").aretrieve("q")
    assert texts(limited.retrieve("q")) == ["a"]


async def test_a_blocking_retriever_is_limited_too() -> None:
    class Slow(Blocking):
        released = threading.Event()

        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            assert self.released.wait(60)
            return super()._retrieve(query_bundle)

    slow = StreamingRetriever.wrap(Slow())
    try:
        with pytest.raises(ContextTimeoutError):
            await slow.with_time_limit(0.05, on_timeout="fail").aretrieve("q")
        with pytest.raises(ContextTimeoutError):
            slow.with_time_limit(0.05, on_timeout="fail").retrieve("q")
    finally:
        Slow.released.set()


async def test_a_context_source_is_a_retriever() -> None:
    def document(name: str) -> CoreDocument:
        return CoreDocument(id=name, text=f"text {name}", score=0.5, metadata={"page": 1})

    trace: list[tuple[float, Append | Update]] = [
        (0.0, Append(documents=(document("a"), document("b")))),
        (0.0, Update(documents=(document("c"), document("a")))),
    ]
    retriever = StreamingRetriever.from_source(replay(trace), order="rank")
    assert retriever.order == "rank"
    changes = [each async for each in retriever.astream_retrieve("q")]
    assert [[n.node_id for n in each] for each in changes] == [["a", "b"], ["c", "a"]]
    (first, _) = changes[1]
    assert (first.text, first.score, first.metadata) == ("text c", 0.5, {"page": 1})


async def test_nodes_are_the_retrievers_own_whatever_is_composed() -> None:
    found = node("a", 0.3, tag=1)
    merged = StreamingRetriever.merge(ScriptedRetriever([[found]])).with_time_limit(60)
    (same,) = await merged.aretrieve("q")
    assert same is found


@pytest.mark.parametrize("kind", ["merge", "limit", "fusion"])
def test_for_a_synchronous_caller_retrievers_are_called_synchronously(kind: str) -> None:
    class Both(Blocking):
        async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            raise AssertionError("its client is a synchronous one")

    wrapped = StreamingRetriever.wrap(Both())
    match kind:
        case "merge":
            composed = StreamingRetriever.merge(wrapped)
        case "limit":
            composed = wrapped.with_time_limit(60)
        case _:
            fusion = QueryFusionRetriever([Both()], llm=MockLLM(), num_queries=1)
            composed = StreamingRetriever.wrap(fusion)
    assert texts(composed.retrieve("q")) == ["q"]
