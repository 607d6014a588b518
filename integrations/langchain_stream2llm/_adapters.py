"""Other retrievers as streaming ones."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig

from langchain_stream2llm._delta import DocumentDelta
from langchain_stream2llm._documents import from_core
from langchain_stream2llm.retrievers import StreamingRetriever
from stream2llm_rag.documents import Document as CoreDocument
from stream2llm_rag.events import Append, ContextEvent
from stream2llm_rag.prompt import DocumentOrder, ordered_after
from stream2llm_rag.sources import ContextSource, events_of

__all__ = ["SourceRetriever", "WrappedRetriever"]


class WrappedRetriever(StreamingRetriever):
    """A retriever that answers at once, as a stream of one delta.

    Every call is passed on whole, so that callbacks see one run: the wrapped retriever's own.
    """

    retriever: BaseRetriever

    async def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> AsyncGenerator[DocumentDelta, None]:
        async for delta in self.astream(query, {"callbacks": run_manager.get_child()}):
            yield delta

    async def astream(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncGenerator[DocumentDelta, None]:
        """Yields what the retriever returns."""
        async for documents in self.retriever.astream(input, config, **kwargs):
            yield DocumentDelta.of(documents)

    async def ainvoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """Calls the retriever."""
        return await self.retriever.ainvoke(input, config, **kwargs)

    def invoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """Calls the retriever."""
        return self.retriever.invoke(input, config, **kwargs)


class SourceRetriever(StreamingRetriever):
    """A context source of the core, such as a crawl, a merge or a staged vector search."""

    source: ContextSource
    order: DocumentOrder = "stable"

    async def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> AsyncGenerator[DocumentDelta, None]:
        documents: tuple[CoreDocument, ...] = ()
        async with aclosing(events_of(self.source, query)) as events:
            async for event in events:
                before, documents = documents, ordered_after(documents, event, self.order)
                yield self._delta(event, before, documents)

    def _delta(
        self,
        event: ContextEvent,
        before: tuple[CoreDocument, ...],
        after: tuple[CoreDocument, ...],
    ) -> DocumentDelta:
        if self.order == "rank" and not isinstance(event, Append):
            return DocumentDelta(map(from_core, after), retract=(old.id for old in before))
        known = {document.id: document for document in before}
        changed = [from_core(new) for new in after if known.get(new.id) != new]
        return DocumentDelta(changed, retract=known.keys() - {new.id for new in after})
