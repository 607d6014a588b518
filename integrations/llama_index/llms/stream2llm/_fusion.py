"""LlamaIndex's fusion retriever, member by member."""

from __future__ import annotations

import asyncio
import copy
import inspect
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from llama_index.core.retrievers import QueryFusionRetriever

from llama_index.llms.stream2llm._composed import RetrieverSource
from llama_index.llms.stream2llm._nodes import NodeUpdate
from llama_index.llms.stream2llm.retrievers import StreamingRetriever
from stream2llm_rag.sources import events_of, merge, run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from llama_index.core.schema import NodeWithScore, QueryBundle

    from stream2llm_rag import Append, Update
    from stream2llm_rag.prompt import DocumentOrder

__all__ = ["FusionStream"]

# What a subclass must have left alone for its members to be called from here.
_RETRIEVAL = ("_retrieve", "_aretrieve", "_run_sync_queries", "_run_async_queries")


class FusionStream(StreamingRetriever):
    """What the fusion makes of the nodes found so far, whenever a member finds some.

    Members search for the query itself while the model still writes the other queries. At no time
    are there more than ``similarity_top_k`` nodes, and in the end they are those that the fusion
    retriever itself returns. As there, an error of one member is an error of all.

    Args:
        fusion: The retriever; its own code fuses.
        order: See ``StreamingRetriever``.
        sync: Call members and model synchronously, in threads.
    """

    def __init__(
        self, fusion: QueryFusionRetriever, *, order: DocumentOrder, sync: bool = False
    ) -> None:
        super().__init__(callback_manager=fusion.callback_manager)
        self.order = order
        self._fusion = fusion
        self._sync = sync

    @staticmethod
    def knows(fusion: QueryFusionRetriever) -> bool:
        """Whether a fusion retriever calls its members as LlamaIndex's own does."""
        return all(
            inspect.getattr_static(type(fusion), name)
            is inspect.getattr_static(QueryFusionRetriever, name)
            for name in _RETRIEVAL
        )

    def for_sync_callers(self) -> StreamingRetriever:
        """Returns one that calls members and model synchronously."""
        return FusionStream(self._fusion, order=self.order, sync=True)

    async def _astream_retrieve(
        self, query_bundle: QueryBundle
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        others = asyncio.create_task(self._other_queries(query_bundle.query_str))
        searches = [
            _Search(query_bundle if turn == 0 else others, turn, member, number)
            for turn in range(max(1, self._fusion.num_queries))
            for number, member in enumerate(self._members())
        ]
        latest = NodeUpdate()
        try:
            merged = merge(*searches, on_error="fail")
            async with aclosing(events_of(merged, query_bundle.query_str)) as events:
                async for _ in events:
                    latest = NodeUpdate(self._fused(query_bundle, searches))
                    yield latest
            # A member that finds what others had found is no event, but it counts.
            if (final := NodeUpdate(self._fused(query_bundle, searches))) != latest:
                yield final
        finally:
            others.cancel()
            await asyncio.gather(others, return_exceptions=True)

    def _members(self) -> list[StreamingRetriever]:
        members = [StreamingRetriever.wrap(member) for member in self._fusion._retrievers]
        return [member.for_sync_callers() for member in members] if self._sync else members

    async def _other_queries(self, query_str: str) -> list[QueryBundle]:
        """What else to search for, as the fusion's model words it."""
        if self._fusion.num_queries <= 1:
            return []
        # Not there before llama-index-core 0.14.
        write = None if self._sync else getattr(self._fusion, "_aget_queries", None)
        if write is None:
            return await run_in_thread(partial(self._fusion._get_queries, query_str))
        queries: list[QueryBundle] = await write(query_str)
        return queries

    def _fused(self, query_bundle: QueryBundle, searches: Sequence[_Search]) -> list[NodeWithScore]:
        """Lets the fusion's own code run on results that are there already."""
        # It changes scores in place.
        results = {
            (search.query.query_str, search.number): [node.model_copy() for node in search.found]
            for search in searches
            if search.query is not None
        }
        fusion = copy.copy(self._fusion)
        fusion.use_async = False
        fusion._get_queries = lambda original_query: []  # type: ignore[method-assign]
        fusion._run_sync_queries = lambda queries: results  # type: ignore[method-assign]
        return fusion._retrieve(query_bundle)


class _Search:
    """One member's search for one query, as a context source.

    Attributes:
        query: The query, once it is known.
        number: Which of the members searches.
    """

    def __init__(
        self,
        query: QueryBundle | asyncio.Task[list[QueryBundle]],
        turn: int,
        member: StreamingRetriever,
        number: int,
    ) -> None:
        self.query: QueryBundle | None = None
        self.number = number
        self._asked = query
        self._turn = turn
        self._member = member
        self._source: RetrieverSource | None = None

    @property
    def found(self) -> list[NodeWithScore]:
        """The nodes so far."""
        return self._source.found if self._source is not None else []

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        """Searches as soon as the query is known; finds nothing if there are not so many."""
        if not isinstance(self._asked, asyncio.Task):
            self.query = self._asked
        else:
            # Shielded, as others wait for the same task.
            others = await asyncio.shield(self._asked)
            if self._turn > len(others):
                return
            self.query = others[self._turn - 1]
        self._source = RetrieverSource(self._member, self.query)
        async with aclosing(events_of(self._source, query)) as events:
            async for event in events:
                yield event

    def __repr__(self) -> str:
        return repr(self._member)
