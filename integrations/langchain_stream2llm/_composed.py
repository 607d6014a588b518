"""Streaming retrievers that the core's context sources make of others."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable

from langchain_stream2llm._delta import DocumentDelta
from langchain_stream2llm._documents import from_core
from langchain_stream2llm._reranking import reranker_of
from langchain_stream2llm._sources import RetrieverSource
from langchain_stream2llm.retrievers import StreamingRetriever
from stream2llm_rag.events import Update, ranked_after
from stream2llm_rag.prompt import DocumentOrder, ordered_after
from stream2llm_rag.sources import ContextSource, Slot, events_of, merge, rerank, time_limit

if TYPE_CHECKING:
    from stream2llm_rag.documents import Document as CoreDocument

__all__ = [
    "ComposedRetriever",
    "MergedRetriever",
    "RerankedRetriever",
    "SourceRetriever",
    "TimeLimitedRetriever",
]


class ComposedRetriever(StreamingRetriever):
    """Streams a context source that is made anew for every call.

    Documents without an id get one that follows from their text.

    Raises:
        ContextSourceError: The source failed; the original error is the cause.
    """

    order: DocumentOrder = "stable"

    @abstractmethod
    def _compose(
        self, run_manager: AsyncCallbackManagerForRetrieverRun, options: dict[str, Any]
    ) -> ContextSource:
        """Makes the source of one call.

        Args:
            run_manager: Callbacks of this run; those of retrievers within are its children.
            options: Keyword arguments of the call, for retrievers within.
        """

    async def _astream_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        **options: Any,
    ) -> AsyncGenerator[DocumentDelta, None]:
        ranked: tuple[CoreDocument, ...] = ()
        shown: tuple[CoreDocument, ...] = ()
        async with aclosing(events_of(self._compose(run_manager, options), query)) as events:
            async for event in events:
                ranked = ranked_after(ranked, event)
                # The best ones by rank, wherever the order then puts them.
                before, best = shown, Update(documents=ranked[:k])
                shown = ordered_after(before, best, self.order)
                yield DocumentDelta.between([*map(from_core, before)], [*map(from_core, shown)])


class SourceRetriever(ComposedRetriever):
    """A context source of the core, such as a crawl, a merge or a staged vector search."""

    source: ContextSource

    def _compose(
        self, run_manager: AsyncCallbackManagerForRetrieverRun, options: dict[str, Any]
    ) -> ContextSource:
        return self.source


class MergedRetriever(ComposedRetriever):
    """Several retrievers side by side."""

    retrievers: list[Runnable[str, list[Document]]]
    on_error: Literal["skip", "fail"] = "skip"

    def _compose(
        self, run_manager: AsyncCallbackManagerForRetrieverRun, options: dict[str, Any]
    ) -> ContextSource:
        members = [
            RetrieverSource(
                retriever, {"callbacks": run_manager.get_child(f"retriever_{number}")}, options
            )
            for number, retriever in enumerate(self.retrievers, start=1)
        ]
        # By rank, those of the first one given are in front, whenever they come.
        step = -1 if self.order == "rank" else 0
        slots = [Slot(member, priority=step * place) for place, member in enumerate(members)]
        return merge(*slots, on_error=self.on_error)


class RerankedRetriever(ComposedRetriever):
    """A retriever, and a reranker or another compressor at its end."""

    retriever: Runnable[str, list[Document]]
    compressor: BaseDocumentCompressor

    def _compose(
        self, run_manager: AsyncCallbackManagerForRetrieverRun, options: dict[str, Any]
    ) -> ContextSource:
        first_stage = RetrieverSource(
            self.retriever, {"callbacks": run_manager.get_child()}, options
        )
        return rerank(first_stage, reranker_of(self.compressor, run_manager))


class TimeLimitedRetriever(ComposedRetriever):
    """A retriever that may only take so long."""

    order: DocumentOrder = "rank"  # that is, the retriever's own
    retriever: Runnable[str, list[Document]]
    timeout_s: float
    on_timeout: Literal["finish", "fail"] = "finish"

    def _compose(
        self, run_manager: AsyncCallbackManagerForRetrieverRun, options: dict[str, Any]
    ) -> ContextSource:
        unlimited = RetrieverSource(self.retriever, {"callbacks": run_manager.get_child()}, options)
        return time_limit(unlimited, self.timeout_s, on_timeout=self.on_timeout)
