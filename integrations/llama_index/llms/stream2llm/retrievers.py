"""Retrievers that yield nodes while they are still searching."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Literal

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.retrieval import (
    RetrievalEndEvent,
    RetrievalStartEvent,
)
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType
from llama_index_instrumentation import get_dispatcher

from llama_index.llms.stream2llm._background import run_retrieval
from llama_index.llms.stream2llm._nodes import NodeUpdate, announce, nodes_after
from stream2llm_engine.errors import InvalidRequestError
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.sources import ContextSource

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

    Attributes:
        order: Where nodes stand in the prompt when a ``NodeUpdate`` ranks them anew. ``"stable"``
            leaves those that stay where they are, so that the model has to compute again only what
            is behind the first one dropped; ``"rank"`` moves them.
    """

    order: DocumentOrder = "stable"

    @abstractmethod
    def _astream_retrieve(self, query_bundle: QueryBundle) -> AsyncIterator[list[NodeWithScore]]:
        """Yields nodes as they are found.

        Args:
            query_bundle: What to search for.

        Yields:
            Lists of new nodes, or a ``NodeUpdate`` in place of all earlier ones.
        """

    # -- made of others --------------------------------------------------------------------------

    @staticmethod
    def wrap(retriever: BaseRetriever, *, order: DocumentOrder = "rank") -> "StreamingRetriever":
        """Makes a streaming retriever of any other.

        - A ``QueryFusionRetriever`` streams the fusion of what its members have found so far.
        - Whatever else returns its nodes at once streams one list. One without an async
          implementation runs in a thread, not on the event loop.

        Args:
            retriever: What to call; a streaming one is returned as it is.
            order: ``"rank"`` follows the retriever. With ``"stable"`` nodes stay where they are as
                long as they are in, so that the model has to compute less again.
        """
        from llama_index.llms.stream2llm._adapters import streaming

        return streaming(retriever, order)

    @staticmethod
    def from_source(
        source: ContextSource, *, order: DocumentOrder = "stable"
    ) -> "StreamingRetriever":
        """Makes a retriever of a context source of ``stream2llm_rag`` or ``qdrant_stream2llm``.

        Args:
            source: What to stream from.
            order: See the class.
        """
        from llama_index.llms.stream2llm._composed import SourceRetriever

        return SourceRetriever(source, order=order)

    @staticmethod
    def merge(
        *retrievers: BaseRetriever,
        on_error: Literal["skip", "fail"] = "skip",
        order: DocumentOrder = "stable",
    ) -> "StreamingRetriever":
        """Runs retrievers side by side and streams what they find in the order it arrives.

        Args:
            *retrievers: At least one, of any kind.
            on_error: ``"skip"`` logs a warning when one fails, keeps what it found and goes on;
                when all fail, the last error is raised. ``"fail"`` stops all when one fails.
            order: See the class.
        """
        from llama_index.llms.stream2llm._composed import MergedRetriever

        if not retrievers:
            msg = "merge() takes at least one retriever"
            raise InvalidRequestError(msg)
        members = [StreamingRetriever.wrap(retriever) for retriever in retrievers]
        return MergedRetriever(members, on_error=on_error, order=order)

    def with_time_limit(
        self, timeout_s: float, *, on_timeout: Literal["finish", "fail"] = "finish"
    ) -> "StreamingRetriever":
        """Ends this retriever's search after a time.

        Args:
            timeout_s: Seconds from the call on.
            on_timeout: ``"finish"`` goes on with the nodes that came in time, ``"fail"`` raises
                ``ContextTimeoutError``.
        """
        from llama_index.llms.stream2llm._composed import TimeLimitedRetriever

        return TimeLimitedRetriever(self, timeout_s=timeout_s, on_timeout=on_timeout)

    def for_sync_callers(self) -> "StreamingRetriever":
        """Returns this retriever for a caller without an event loop of its own.

        What it calls is then called synchronously, because its client may be synchronous only.
        """
        return self

    # -- LlamaIndex's methods --------------------------------------------------------------------

    async def astream_retrieve(
        self, str_or_query_bundle: QueryType
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        """Yields nodes while they are found, each node once, or a ``NodeUpdate`` of all of them.

        Observers see one retrieval, and a ``ContextAppendEvent`` or ``ContextUpdateEvent`` for
        every list.
        """
        self._check_callback_manager()
        dispatcher.event(RetrievalStartEvent(str_or_query_bundle=str_or_query_bundle))
        bundle = as_bundle(str_or_query_bundle)
        found: list[NodeWithScore] = []
        with self.callback_manager.event(
            CBEventType.RETRIEVE, payload={EventPayload.QUERY_STR: bundle.query_str}
        ) as event:
            async with aclosing(self._changes(bundle)) as changes:
                async for nodes in changes:
                    before = found
                    found, change = nodes_after(before, await self._resolved(bundle, nodes))
                    if change or isinstance(change, NodeUpdate):
                        announce(before, change)
                        yield change
            event.on_end(payload={EventPayload.NODES: found})
        dispatcher.event(RetrievalEndEvent(str_or_query_bundle=str_or_query_bundle, nodes=found))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found: list[NodeWithScore] = []
        async with aclosing(self._changes(query_bundle)) as changes:
            async for nodes in changes:
                found, _ = nodes_after(found, nodes)
        return found

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return run_retrieval(self.for_sync_callers()._aretrieve(query_bundle))

    async def _changes(
        self, query_bundle: QueryBundle
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        """What the subclass yields; closing it closes the subclass's generator."""
        found = self._astream_retrieve(query_bundle)
        try:
            async for nodes in found:
                yield nodes
        finally:
            if isinstance(found, AsyncGenerator):
                await found.aclose()

    async def _resolved(
        self, query_bundle: QueryBundle, nodes: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        """Follows index nodes to what they stand for."""
        resolved = await self._ahandle_recursive_retrieval(query_bundle, nodes)
        return NodeUpdate(resolved) if isinstance(nodes, NodeUpdate) else resolved


def as_bundle(query: QueryType) -> QueryBundle:
    """Returns the query as a bundle."""
    return QueryBundle(query) if isinstance(query, str) else query
