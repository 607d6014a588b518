"""Keeping the record of a crawl."""

import logging
from dataclasses import dataclass, field
from time import monotonic

from stream2llm_rag.documents import Document
from stream2llm_rag.errors import ContextSourceError, ContextTimeoutError
from stream2llm_rag.sources.web._outcome import (
    CrawlReport,
    PageRecord,
    PageSkippedError,
    SkipReason,
)

__all__ = ["Found", "Recorder"]

_logger = logging.getLogger(__name__)

# Nothing is wrong with these pages.
_EXPECTED = {SkipReason.DUPLICATE, SkipReason.BUDGET, SkipReason.STOPPED}
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A page that was found.

    Attributes:
        url: As it was found.
        depth: How many links away from the search it is.
        hit: What the search said about it.
        since: When it was found, in seconds of the monotonic clock.
    """

    url: str
    depth: int = 0
    hit: Document | None = None
    since: float = field(default_factory=monotonic)


class Recorder:
    """Writes down and logs what becomes of pages."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._pages: list[PageRecord] = []

    @property
    def report(self) -> CrawlReport:
        """All that was written down so far."""
        return CrawlReport(query=self._query, pages=tuple(self._pages))

    def fetched(self, found: Found, document: Document) -> None:
        """A page became a document."""
        self._add(found, document_id=document.id)

    def skipped(self, found: Found, error: Exception) -> None:
        """A page is left out."""
        if isinstance(error, PageSkippedError):
            level = logging.INFO if error.reason in _EXPECTED else logging.WARNING
            _logger.log(level, "page %s is skipped: %s", found.url, error)
            self._add(found, reason=error.reason, detail=error.detail)
        else:
            _logger.warning("page %s is skipped", found.url, exc_info=error)
            self._add(found, reason=SkipReason.FAILED, detail=repr(error))

    def explain(self, *, in_time: bool) -> None:
        """Says why a crawl brought nothing, unless nothing was found.

        Raises:
            ContextSourceError: Pages were found but none could be read.
            ContextTimeoutError: Nothing came in time.
        """
        skipped = self.report.skipped
        if in_time and not skipped:
            return
        reasons = "; ".join(
            f"{page.url}: {page.reason}: {page.detail}" for page in skipped[:_SHOWN]
        )
        more = f"; and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
        if in_time:
            msg = f"none of {len(skipped)} pages could be read: {reasons}{more}"
            raise ContextSourceError(msg)
        msg = f"no page came in time; raise WebConfig.timeout_s: {reasons}{more}"
        raise ContextTimeoutError(msg)

    def _add(
        self,
        found: Found,
        *,
        document_id: str | None = None,
        reason: SkipReason | None = None,
        detail: str = "",
    ) -> None:
        self._pages.append(
            PageRecord(
                url=found.url,
                document_id=document_id,
                reason=reason,
                detail=detail,
                seconds=monotonic() - found.since,
            )
        )
