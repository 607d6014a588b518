"""Asynchronous calls leave the event loop free.

Two detectors: one raises where code of ours makes a call that may block on a running loop; and the
fake's tokenizer refuses to be used there, because tokenising a document is work.
"""

import threading
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index.llms.stream2llm import (
    Stream2LLM,
    StreamingContextChatEngine,
    StreamingQueryEngine,
    StreamingRetriever,
)
from tests.integrations.llama_index.fakes import FakeEngine, ScriptedRetriever, node
from tests.support.blocking import BlockingError, no_blocking_calls

pytestmark = pytest.mark.filterwarnings("ignore:The `json` method is deprecated")  # in LlamaIndex

MESSAGES = [ChatMessage(role="user", content="Hi")]


@pytest.fixture(autouse=True)
async def detector(engine: FakeEngine) -> AsyncIterator[None]:
    # Making an engine asks for the context window, which waits for the model.
    await engine.start()
    with no_blocking_calls():
        yield


class Blocking(BaseRetriever):
    """As most retrievers: no async implementation, and a client that blocks."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        time.sleep(0.001)
        return [node(query_bundle.query_str)]


class SlowStore(MockEmbedding):
    """What a vector index calls."""

    def _get_query_embedding(self, query: str) -> list[float]:
        time.sleep(0.001)
        return super()._get_query_embedding(query)


class SlowPostprocessor(BaseNodePostprocessor):
    streaming_stage: ClassVar[str] = "per_node"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        time.sleep(0.001)
        return nodes


class Answer(BaseModel):
    text: str


def add(a: int) -> int:
    """Adds."""
    return a


async def test_the_detectors_work(engine: FakeEngine) -> None:
    class Careless(StreamingRetriever):
        async def _astream_retrieve(
            self, query_bundle: QueryBundle
        ) -> AsyncIterator[list[NodeWithScore]]:
            time.sleep(0.001)  # noqa: ASYNC251 - to be found
            yield []

    with pytest.raises(BlockingError):
        await Careless().aretrieve("q")
    with pytest.raises(AssertionError, match="event loop"):
        engine.tokenizer.encode("x", add_special_tokens=False)


async def test_the_llm(llm: Stream2LLM, engine: FakeEngine) -> None:
    await llm.achat(MESSAGES)
    await llm.acomplete("Hi")
    await llm.acomplete("Hi", formatted=True)
    assert [each async for each in await llm.astream_chat(MESSAGES)]
    assert [each async for each in await llm.astream_complete("Hi")]
    engine.reply = lambda _: '{"text": "yes"}'
    structured = llm.as_structured_llm(Answer)
    assert (await structured.achat(MESSAGES)).raw == Answer(text="yes")
    assert [each async for each in await structured.astream_chat(MESSAGES)]
    engine.reply = lambda _: '[{"name": "add", "parameters": {"a": 1}}]'
    tools = [FunctionTool.from_defaults(add)]
    assert (await llm.apredict_and_call(tools, "Hi", tool_required=True)).response == "1"


def retrievers() -> list[BaseRetriever]:
    index = VectorStoreIndex.from_documents(
        [Document(text="alpha")], embed_model=SlowStore(embed_dim=4)
    )
    vector = index.as_retriever()
    return [
        Blocking(),
        vector,
        QueryFusionRetriever([Blocking(), vector], llm=MockLLM(), num_queries=2),
        StreamingRetriever.merge(Blocking(), ScriptedRetriever([[node("a")]])),
        StreamingRetriever.wrap(Blocking()).with_time_limit(60),
    ]


# Made here: the index tokenises and reads files, which is nobody's event loop's business.
RETRIEVERS = retrievers()


@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_query_engine(llm: Stream2LLM, retriever: Any, streaming: bool) -> None:
    query_engine = StreamingQueryEngine.from_args(
        retriever, llm=llm, streaming=streaming, node_postprocessors=[SlowPostprocessor()]
    )
    response: Any = await query_engine.aquery("q")
    if streaming:
        response = await response.get_response()
    assert response.response == "one two three"
    assert response.source_nodes


@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda each: type(each).__name__)
async def test_a_chat_engine(llm: Stream2LLM, retriever: Any) -> None:
    chat_engine = StreamingContextChatEngine.from_defaults(
        retriever,
        llm=llm,
        memory=ChatMemoryBuffer.from_defaults(token_limit=1000),
        node_postprocessors=[SlowPostprocessor()],
    )
    assert (await chat_engine.achat("q")).response == "one two three"
    response = await chat_engine.astream_chat("q")
    assert [token async for token in response.async_response_gen()]


async def test_a_blocking_retriever_does_not_keep_the_threads_of_others() -> None:
    """More of them at once than the loop's own pool has threads, all waiting for the loop."""
    release = threading.Event()

    class Waiting(Blocking):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            assert release.wait(60)
            return [node("x")]

    merged = StreamingRetriever.merge(*(Waiting() for _ in range(50)), Blocking())
    changes = merged.astream_retrieve("q")
    assert [each.text for each in await anext(changes)] == ["q"]
    release.set()
    assert [each.text for each in await anext(changes)] == ["x"]
    await changes.aclose()
