"""Streaming retrievers, and others made to stream."""

import asyncio
import threading
from contextlib import aclosing
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle

from llama_index.llms.stream2llm import StreamingRetriever
from tests.integrations.llama_index.fakes import Callbacks, Recorder, ScriptedRetriever, node

CHUNKS = [[node("a"), node("b")], [], [node("b"), node("c")]]


class Blocking(BaseRetriever):
    """Has no async implementation, as most retrievers."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.thread = threading.current_thread()
        return [node(query_bundle.query_str)]


async def stream(retriever: StreamingRetriever, query: str = "q") -> list[list[str]]:
    return [[n.text for n in nodes] async for nodes in retriever.astream_retrieve(query)]


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


async def test_leaving_a_stream_closes_the_generator() -> None:
    retriever = ScriptedRetriever([[node("a")], asyncio.Event()])
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
    documents = [Document(text="alpha"), Document(text="beta")]
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))
    inner = index.as_retriever(similarity_top_k=2)
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
