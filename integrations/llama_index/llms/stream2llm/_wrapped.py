"""An ordinary retriever as a streaming one."""

import inspect
from collections.abc import AsyncGenerator
from functools import partial

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from llama_index.llms.stream2llm._nodes import announce
from llama_index.llms.stream2llm.retrievers import StreamingRetriever, as_bundle
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.sources import run_in_thread

__all__ = ["WrappedRetriever"]


class WrappedRetriever(StreamingRetriever):
    """Passes every call on whole, so that observers see one retrieval: the retriever's own.

    Args:
        retriever: What to call.
        order: See ``StreamingRetriever``.
        in_thread: Always call it synchronously, in a thread; by default only if its ``aretrieve``
            would block the event loop.
    """

    def __init__(
        self, retriever: BaseRetriever, *, order: DocumentOrder = "rank", in_thread: bool = False
    ) -> None:
        super().__init__(callback_manager=retriever.callback_manager)
        self.order = order
        self._wrapped = retriever
        self._in_thread = in_thread or _blocks(retriever)

    def for_sync_callers(self) -> StreamingRetriever:
        """Returns one that calls the retriever synchronously."""
        return WrappedRetriever(self._wrapped, order=self.order, in_thread=True)

    async def astream_retrieve(
        self, str_or_query_bundle: QueryType
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        """Yields what the retriever returns."""
        async for nodes in self._astream_retrieve(as_bundle(str_or_query_bundle)):
            announce([], nodes)
            yield nodes

    async def _astream_retrieve(
        self, query_bundle: QueryBundle
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        nodes = await self.aretrieve(query_bundle)
        if nodes:
            yield nodes

    async def aretrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Calls the retriever."""
        if not self._in_thread:
            try:
                return await self._wrapped.aretrieve(str_or_query_bundle)
            except NotImplementedError:
                # How some retrievers say that they have no asynchronous method.
                pass
        return await run_in_thread(partial(self._wrapped.retrieve, str_or_query_bundle))

    def retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Calls the retriever."""
        return self._wrapped.retrieve(str_or_query_bundle)


def _blocks(retriever: BaseRetriever) -> bool:
    """Whether its ``aretrieve`` is LlamaIndex's default, or rests on one, which blocks the loop."""
    if _inherits(retriever, BaseRetriever, "_aretrieve"):
        return True
    if not isinstance(retriever, VectorIndexRetriever):
        return False
    return _inherits(retriever._vector_store, BasePydanticVectorStore, "aquery")


def _inherits(instance: object, base: type, method: str) -> bool:
    return inspect.getattr_static(type(instance), method) is inspect.getattr_static(base, method)
