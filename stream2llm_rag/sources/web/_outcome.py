"""What became of each page."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

__all__ = ["CrawlReport", "PageRecord", "PageSkippedError", "SkipReason"]


class SkipReason(StrEnum):
    """Why a page is not in the context."""

    REFUSED = "refused"
    """Its URL, or an address behind it, may not be connected to."""
    ROBOTS = "robots"
    """robots.txt disallows it, or cannot be read."""
    STATUS = "status"
    """The server answered with an error."""
    UNREACHABLE = "unreachable"
    """No lookup, no connection, or one that broke off."""
    TIMEOUT = "timeout"
    """The request took too long."""
    REDIRECTS = "redirects"
    """Too many redirects."""
    TOO_LARGE = "too large"
    """More bytes than allowed."""
    UNSUPPORTED = "unsupported"
    """Neither HTML nor PDF nor text."""
    UNREADABLE = "unreadable"
    """Broken, encrypted, or too hard to parse."""
    EMPTY = "empty"
    """No text in it."""
    FAILED = "failed"
    """Anything unforeseen."""
    DUPLICATE = "duplicate"
    """An earlier page has the same address or says the same."""
    LIMIT = "limit"
    """More pages than allowed were found."""
    BUDGET = "budget"
    """The context is full."""
    DEADLINE = "deadline"
    """Not finished when the time was up."""
    STOPPED = "stopped"
    """Not finished when the consumer stopped."""


class PageSkippedError(Exception):
    """A page is left out; never leaves the package."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class PageRecord(BaseModel):
    """One page that was found.

    Attributes:
        url: As it was found.
        document_id: Of the document it became; None if it was skipped.
        reason: Why it was skipped; None if it was not.
        detail: The reason in words.
        seconds: From when it was found to when that was known.
    """

    model_config = ConfigDict(frozen=True)

    url: str
    document_id: str | None = None
    reason: SkipReason | None = None
    detail: str = ""
    seconds: float = 0.0


class CrawlReport(BaseModel):
    """What one question's crawl has come to, in order of completion."""

    model_config = ConfigDict(frozen=True)

    query: str
    pages: tuple[PageRecord, ...] = ()

    @property
    def fetched(self) -> tuple[PageRecord, ...]:
        """The pages that became documents."""
        return tuple(page for page in self.pages if page.reason is None)

    @property
    def skipped(self) -> tuple[PageRecord, ...]:
        """The pages that did not."""
        return tuple(page for page in self.pages if page.reason is not None)
