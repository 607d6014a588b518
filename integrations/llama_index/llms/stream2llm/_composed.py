"""Streaming retrievers that the core's context sources make of others."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from llama_index.llms.stream2llm._nodes import NodeUpdate, as_event, as_node, nodes_after
from llama_index.llms.stream2llm.retrievers import StreamingRetriever
from stream2llm_rag import Update
from stream2llm_rag.sources import ContextSource, events_of, merge, time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from llama_index.core.schema import NodeWithScore, QueryBundle

    from stream2llm_rag import Append
    from stream2llm_rag.prompt import DocumentOrder

__all__ = ["MergedRetriever", "RetrieverSource", "SourceRetriever", "TimeLimitedRetriever"]


class RetrieverSource:
    """One retrieval as a context source.

    Args:
        retriever: What to call.
        query_bundle: What to search for, whatever the source is asked.
    """

    def __init__(self, retriever: StreamingRetriever, query_bundle: QueryBundle) -> None:
        self.found: list[NodeWithScore] = []
        self._retriever = retriever
        self._query_bundle = query_bundle

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        """Retrieves; to be called once."""
        del query
        async with aclosing(self._retriever.astream_retrieve(self._query_bundle)) as changes:
            async for change in changes:
                self.found, new = nodes_after(self.found, change)
                yield as_event(new)

    def __repr__(self) -> str:
        return type(self._retriever).__name__


class _ComposedRetriever(StreamingRetriever):
    """Streams a context source that is made anew for every retrieval."""

    @abstractmethod
    def _compose(self, query_bundle: QueryBundle) -> ContextSource:
        """Makes the source of one retrieval."""

    async def _astream_retrieve(
        self, query_bundle: QueryBundle
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        source = self._compose(query_bundle)
        async with aclosing(events_of(source, query_bundle.query_str)) as events:
            async for event in events:
                nodes = [as_node(document) for document in event.documents]
                yield NodeUpdate(nodes) if isinstance(event, Update) else nodes


class SourceRetriever(_ComposedRetriever):
    """A context source of the core, such as a crawl, a merge or a staged vector search."""

    def __init__(self, source: ContextSource, *, order: DocumentOrder) -> None:
        super().__init__()
        self.order = order
        self._source = source

    def _compose(self, query_bundle: QueryBundle) -> ContextSource:
        return self._source


class MergedRetriever(_ComposedRetriever):
    """Several retrievers side by side."""

    def __init__(
        self,
        members: Sequence[StreamingRetriever],
        *,
        on_error: Literal["skip", "fail"],
        order: DocumentOrder,
    ) -> None:
        super().__init__()
        self.order = order
        self._members = members
        self._on_error: Literal["skip", "fail"] = on_error

    def for_sync_callers(self) -> StreamingRetriever:
        """Returns one whose members are called synchronously."""
        members = [member.for_sync_callers() for member in self._members]
        return MergedRetriever(members, on_error=self._on_error, order=self.order)

    def _compose(self, query_bundle: QueryBundle) -> ContextSource:
        sources = [RetrieverSource(member, query_bundle) for member in self._members]
        return merge(*sources, on_error=self._on_error)


class TimeLimitedRetriever(_ComposedRetriever):
    """A retriever that may only take so long."""

    def __init__(
        self,
        retriever: StreamingRetriever,
        *,
        timeout_s: float,
        on_timeout: Literal["finish", "fail"],
    ) -> None:
        super().__init__(callback_manager=retriever.callback_manager)
        self.order = retriever.order
        self._limited = retriever
        self._timeout_s = timeout_s
        self._on_timeout: Literal["finish", "fail"] = on_timeout

    def for_sync_callers(self) -> StreamingRetriever:
        """Returns one whose retriever is called synchronously."""
        return TimeLimitedRetriever(
            self._limited.for_sync_callers(), timeout_s=self._timeout_s, on_timeout=self._on_timeout
        )

    def _compose(self, query_bundle: QueryBundle) -> ContextSource:
        unlimited = RetrieverSource(self._limited, query_bundle)
        return time_limit(unlimited, self._timeout_s, on_timeout=self._on_timeout)
