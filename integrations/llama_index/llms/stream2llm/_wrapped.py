"""An ordinary retriever as a streaming one."""

import asyncio
import inspect
from collections.abc import AsyncGenerator

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType
from llama_index_instrumentation import get_dispatcher

from llama_index.llms.stream2llm.events import ContextAppendEvent
from llama_index.llms.stream2llm.retrievers import StreamingRetriever, as_bundle

__all__ = ["WrappedRetriever"]

dispatcher = get_dispatcher(__name__)


class WrappedRetriever(StreamingRetriever):
    """Passes every call on whole, so that observers see one retrieval: the retriever's own.

    Args:
        retriever: What to call. A synchronous call stays one, because its client may be
            synchronous only.
    """

    def __init__(self, retriever: BaseRetriever) -> None:
        super().__init__(callback_manager=retriever.callback_manager)
        self._wrapped = retriever

    async def astream_retrieve(
        self, str_or_query_bundle: QueryType
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        """Yields what the retriever returns."""
        async for nodes in self._astream_retrieve(as_bundle(str_or_query_bundle)):
            dispatcher.event(ContextAppendEvent(node_ids=[node.node_id for node in nodes]))
            yield nodes

    async def _astream_retrieve(
        self, query_bundle: QueryBundle
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        nodes = await self.aretrieve(query_bundle)
        if nodes:
            yield nodes

    async def aretrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Calls the retriever, in a thread if its ``aretrieve`` would block the event loop."""
        if _blocks(self._wrapped):
            return await asyncio.to_thread(self._wrapped.retrieve, str_or_query_bundle)
        return await self._wrapped.aretrieve(str_or_query_bundle)

    def retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Calls the retriever."""
        return self._wrapped.retrieve(str_or_query_bundle)


def _blocks(retriever: BaseRetriever) -> bool:
    """Whether it has LlamaIndex's own ``_aretrieve``, which calls ``_retrieve`` on the loop."""
    inherited = inspect.getattr_static(BaseRetriever, "_aretrieve")
    return inspect.getattr_static(type(retriever), "_aretrieve") is inherited
