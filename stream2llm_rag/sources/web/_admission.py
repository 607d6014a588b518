"""Which of the pages that landed become documents."""

from datetime import UTC, datetime
from functools import partial

from stream2llm_rag.documents import Document
from stream2llm_rag.sources._deduplicate import Distinct
from stream2llm_rag.sources._thread import run_in_thread
from stream2llm_rag.sources.web._config import WebConfig
from stream2llm_rag.sources.web._cut import cut
from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._reader import WebPage
from stream2llm_rag.sources.web._urls import canonical

__all__ = ["Admission"]

_SHINGLE_WORDS = 3


class Admission:
    """Keeps duplicates out and the context within its size."""

    def __init__(self, config: WebConfig) -> None:
        self._config = config
        self._distinct = Distinct(config.similarity, _SHINGLE_WORDS)
        self._pages: tuple[Document, ...] = ()
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether nothing more fits."""
        limit = self._config.max_total_size
        return limit is not None and self._size >= limit

    async def page(self, page: WebPage, hit: Document | None) -> Document:
        """Admits a page.

        Args:
            page: What landed.
            hit: What the search said about it.

        Raises:
            PageSkippedError: It says nothing new, or does not fit.
        """
        document = Document(
            id=canonical(page.url),
            text=page.text,
            score=hit.score if hit else None,
            metadata={
                **(hit.metadata if hit else {}),
                "url": str(page.url),
                "title": page.title or (hit.metadata.get("title", "") if hit else ""),
                "content_type": page.content_type,
                "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
                **({"truncated": True} if page.truncated else {}),
            },
        )
        pages = (*self._pages, document)
        if await run_in_thread(partial(self._distinct, pages)) != pages:
            raise PageSkippedError(SkipReason.DUPLICATE, "an earlier page says the same")
        document = await self._fitting(document, page.size)
        self._pages = pages
        return document

    async def snippet(self, hit: Document) -> Document | None:
        """Returns what the search said about a page as a document of its own, if it fits."""
        # A document template may name what pages have.
        metadata = {"title": "", **hit.metadata}
        snippet = hit.model_copy(update={"id": f"{hit.id}#snippet", "metadata": metadata})
        size = await run_in_thread(partial(self._config.measure, snippet.text))
        try:
            return await self._fitting(snippet, size)
        except PageSkippedError:
            return None

    async def _fitting(self, document: Document, size: int) -> Document:
        limit = self._config.max_total_size
        if limit is None or self._size + size <= limit:
            self._size += size
            return document
        left = limit - self._size
        self._size = limit
        text = await run_in_thread(partial(cut, document.text, left, self._config.measure))
        metadata = {**document.metadata, "truncated": True}
        return document.model_copy(update={"text": text, "metadata": metadata})
