"""Retrievers that yield nodes while they are still searching."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.retrieval import (
    RetrievalEndEvent,
    RetrievalStartEvent,
)
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType
from llama_index_instrumentation import get_dispatcher

from llama_index.llms.stream2llm._background import run_retrieval
from llama_index.llms.stream2llm.events import ContextAppendEvent

__all__ = ["StreamingRetriever", "as_bundle"]

dispatcher = get_dispatcher(__name__)


class StreamingRetriever(BaseRetriever):
    """A retriever that streams: one async generator, every LlamaIndex method.

    A subclass writes ``_astream_retrieve``. ``astream_retrieve`` yields its nodes while they come,
    ``aretrieve`` and ``retrieve`` return all of them.

    ```python
    class CrawlRetriever(StreamingRetriever):
        async def _astream_retrieve(self, query_bundle):
            async for page in crawl(query_bundle.query_str):
                yield [NodeWithScore(node=TextNode(text=page.text, id_=page.url))]
    ```
    """

    @abstractmethod
    def _astream_retrieve(self, query_bundle: QueryBundle) -> AsyncIterator[list[NodeWithScore]]:
        """Yields lists of new nodes as they are found.

        Args:
            query_bundle: What to search for.
        """

    @staticmethod
    def wrap(retriever: BaseRetriever) -> "StreamingRetriever":
        """Gives any retriever the interface of a streaming one: all its nodes come at once.

        One without an async implementation runs in a thread, not on the event loop.
        """
        from llama_index.llms.stream2llm._wrapped import WrappedRetriever

        if isinstance(retriever, StreamingRetriever):
            return retriever
        return WrappedRetriever(retriever)

    async def astream_retrieve(
        self, str_or_query_bundle: QueryType
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        """Yields nodes while they are found, each node once.

        Observers see one retrieval, and a ``ContextAppendEvent`` for every list.
        """
        self._check_callback_manager()
        dispatcher.event(RetrievalStartEvent(str_or_query_bundle=str_or_query_bundle))
        bundle = as_bundle(str_or_query_bundle)
        found: list[NodeWithScore] = []
        with self.callback_manager.event(
            CBEventType.RETRIEVE, payload={EventPayload.QUERY_STR: bundle.query_str}
        ) as event:
            async with aclosing(self._chunks(bundle)) as chunks:
                async for nodes in chunks:
                    new = await self._new(bundle, nodes, found)
                    if new:
                        found += new
                        dispatcher.event(ContextAppendEvent(node_ids=[n.node_id for n in new]))
                        yield new
            event.on_end(payload={EventPayload.NODES: found})
        dispatcher.event(RetrievalEndEvent(str_or_query_bundle=str_or_query_bundle, nodes=found))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        async with aclosing(self._chunks(query_bundle)) as chunks:
            return [node async for nodes in chunks for node in nodes]

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return run_retrieval(self._aretrieve(query_bundle))

    async def _chunks(self, query_bundle: QueryBundle) -> AsyncGenerator[list[NodeWithScore], None]:
        """What the subclass yields; closing it closes the subclass's generator."""
        found = self._astream_retrieve(query_bundle)
        try:
            async for nodes in found:
                yield nodes
        finally:
            if isinstance(found, AsyncGenerator):
                await found.aclose()

    async def _new(
        self, query_bundle: QueryBundle, nodes: list[NodeWithScore], found: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        """Follows index nodes to what they stand for and drops what was found before."""
        resolved = await self._ahandle_recursive_retrieval(query_bundle, nodes)
        known = {node.node_id for node in found}
        return [node for node in resolved if node.node_id not in known]


def as_bundle(query: QueryType) -> QueryBundle:
    """Returns the query as a bundle."""
    return QueryBundle(query) if isinstance(query, str) else query
