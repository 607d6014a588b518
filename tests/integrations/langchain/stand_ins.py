"""What users bring along: retrievers, loaders and rerankers, as small as they can be."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,  # noqa: TC002 - pydantic reads it
)
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from langchain_stream2llm import StreamingRetriever
from tests.integrations.langchain.fakes import docs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.callbacks import CallbackManagerForRetrieverRun, Callbacks


def texts(documents: Sequence[Any]) -> list[str]:
    return [document.page_content for document in documents]


class ListRetriever(BaseRetriever):
    """A retriever that only blocks; knows the threads that called it."""

    documents: list[Any] = Field(default_factory=lambda: docs("about q", "more"))
    threads: list[str] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> Any:
        self.threads.append(threading.current_thread().name)
        return self.documents


class CountingRetriever(StreamingRetriever):
    """As many documents as asked for, ten by itself, one by one."""

    async def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> AsyncIterator[list[Document]]:
        for number in range(k or 10):
            yield docs(f"{query} {number}")


class GatedRetriever(StreamingRetriever):
    """Yields each delta when the test releases it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    deltas: list[Any]
    gate: asyncio.Semaphore = Field(default_factory=lambda: asyncio.Semaphore(0))
    closed: list[str] = Field(default_factory=list)

    async def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> AsyncIterator[list[Document]]:
        try:
            for delta in self.deltas:
                await self.gate.acquire()
                if isinstance(delta, Exception):
                    raise delta
                yield delta
        finally:
            self.closed.append(query)


class PagesLoader(BaseLoader):
    """A document loader that only blocks."""

    def __init__(self, *pages: str) -> None:
        self.pages = pages
        self.threads: set[str] = set()

    def lazy_load(self) -> Iterator[Document]:
        for page in self.pages:
            self.threads.add(threading.current_thread().name)
            yield Document(page)


class AsyncPagesLoader(PagesLoader):
    """One with an asynchronous method of its own."""

    async def alazy_load(self) -> AsyncIterator[Document]:
        for page in self.lazy_load():
            yield page


class Backwards(BaseDocumentCompressor):
    """A reranker that only blocks: the last documents, in reverse; copies lose their ids."""

    keep: int = 2
    keep_ids: bool = True
    threads: list[str] = Field(default_factory=list)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        self.threads.append(threading.current_thread().name)
        kept = [*reversed(documents)][: self.keep]
        if self.keep_ids:
            return kept
        return [Document(document.page_content, metadata=document.metadata) for document in kept]


class AsyncBackwards(Backwards):
    """One with an asynchronous method of its own; waits until the test lets it go."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    gate: asyncio.Event = Field(default_factory=asyncio.Event)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        await self.gate.wait()
        return self.compress_documents(documents, query, callbacks)
