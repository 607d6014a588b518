"""LangChain's ensemble retriever, member by member."""

from typing import Any, Protocol, runtime_checkable

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.runnables import Runnable
from pydantic import SkipValidation

from langchain_stream2llm._composed import ComposedRetriever
from langchain_stream2llm._documents import to_core
from langchain_stream2llm._sources import RetrieverSource
from stream2llm_rag.documents import Document as CoreDocument
from stream2llm_rag.sources import ContextSource, merge, rerank

__all__ = ["Ensemble", "EnsembleStream"]


@runtime_checkable
class Ensemble(Protocol):
    """What is used of ``EnsembleRetriever``, whose package need not be installed."""

    retrievers: list[Runnable[str, list[Document]]]

    def weighted_reciprocal_rank(self, doc_lists: list[list[Document]]) -> list[Document]:
        """Fuses the members' rankings."""
        ...


class EnsembleStream(ComposedRetriever):
    """What the members find as they find it, then the fused ranking."""

    ensemble: SkipValidation[Ensemble]
    retrievers: list[Runnable[str, list[Document]]]

    def _compose(
        self, run_manager: AsyncCallbackManagerForRetrieverRun, options: dict[str, Any]
    ) -> ContextSource:
        # The tags, too, are the ensemble's own.
        members = [
            RetrieverSource(member, {"callbacks": run_manager.get_child(f"retriever_{i}")}, options)
            for i, member in enumerate(self.retrievers, start=1)
        ]

        async def fuse(query: str, found: tuple[CoreDocument, ...]) -> tuple[CoreDocument, ...]:
            rankings = [list(member.log.documents) for member in members]
            return to_core(self.ensemble.weighted_reciprocal_rank(rankings))

        return rerank(merge(*members, on_error="fail"), fuse)
