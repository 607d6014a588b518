"""From a URL to a page's text."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import httpx2

from stream2llm_rag.sources._thread import run_in_thread
from stream2llm_rag.sources.web._config import WebConfig
from stream2llm_rag.sources.web._cut import cut
from stream2llm_rag.sources.web._fetcher import Fetcher, read_body
from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._parsing import Kind, PageJob, parse_page
from stream2llm_rag.sources.web._robots import Robots

__all__ = ["PageReader", "WebPage"]

_KINDS: dict[str, Kind] = {
    "": "unknown",
    "application/octet-stream": "unknown",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/x-pdf": "pdf",
    "text/plain": "text",
    "text/markdown": "text",
    "text/x-markdown": "text",
    "application/json": "text",
}
_PARSED_AT_ONCE = 2


class WebPage(NamedTuple):
    """The text of a page.

    Attributes:
        url: Where it was found in the end.
        content_type: Of the response, in lower case and without parameters.
        title: Empty if it has none.
        text: Cut to the size of a document.
        size: Of the text.
        truncated: Whether the page has more.
        links: Absolute URLs.
    """

    url: httpx2.URL
    content_type: str
    title: str
    text: str
    size: int
    truncated: bool
    links: tuple[str, ...]


class _Download(NamedTuple):
    url: httpx2.URL
    content_type: str
    kind: Kind
    charset: str | None
    body: bytes


class PageReader:
    """Reads the pages of one crawl.

    Args:
        fetcher: Downloads them.
        robots: Says which.
        config: Bounds.
    """

    def __init__(self, fetcher: Fetcher, robots: Robots, config: WebConfig) -> None:
        self._fetcher = fetcher
        self._robots = robots
        self._config = config
        self._parsing = asyncio.Semaphore(_PARSED_AT_ONCE)

    async def read(
        self, url: httpx2.URL, claim: Callable[[httpx2.URL], None], *, links: bool
    ) -> WebPage:
        """Reads a page.

        Args:
            url: Where to start.
            claim: Called with every URL on the way, before it is asked for.
            links: Whether its links are wanted.

        Raises:
            PageSkippedError: By ``claim``, or there is no text to be had.
        """

        async def enter(address: httpx2.URL) -> float:
            claim(address)
            return await self._robots.check(address)

        download = await self._fetcher.get(url, self._download, enter)
        config = self._config
        job = PageJob(
            kind=download.kind,
            url=str(download.url),
            charset=download.charset,
            max_pdf_pages=config.max_pdf_pages,
            links=links,
        )
        async with self._parsing:
            parsed = await parse_page(job, download.body, timeout_s=config.parse_timeout_s)
        text, size = await run_in_thread(partial(self._fitting, parsed.text))
        return WebPage(
            url=download.url,
            content_type=download.content_type,
            title=parsed.title,
            text=text,
            size=size,
            truncated=parsed.truncated or len(text) < len(parsed.text),
            links=parsed.links,
        )

    def _fitting(self, text: str) -> tuple[str, int]:
        start = cut(text, self._config.max_document_size, self._config.measure)
        return start, self._config.measure(start)

    async def _download(self, response: httpx2.Response) -> _Download:
        if not response.is_success:
            raise PageSkippedError(SkipReason.STATUS, f"HTTP {response.status_code}")
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        kind = _KINDS.get(content_type)
        if kind is None:
            raise PageSkippedError(SkipReason.UNSUPPORTED, f"its type is {content_type}")
        limit = self._config.max_page_bytes
        declared = response.headers.get("Content-Length", "")
        too_large = declared.isdecimal() and int(declared) > limit
        body = b"" if too_large else bytes(await read_body(response, limit))
        if too_large or len(body) > limit:
            raise PageSkippedError(SkipReason.TOO_LARGE, f"more than {limit} bytes")
        return _Download(response.url, content_type, kind, response.charset_encoding, body)
