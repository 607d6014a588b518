"""One question's crawl."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import NamedTuple, TypeAlias, assert_never

import httpx2

from stream2llm_rag.documents import Document
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.events import Append
from stream2llm_rag.sources._protocol import ContextSource, events_of
from stream2llm_rag.sources.web._admission import Admission
from stream2llm_rag.sources.web._config import WebConfig
from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._reader import PageReader, WebPage
from stream2llm_rag.sources.web._recorder import Found, Recorder
from stream2llm_rag.sources.web._urls import canonical, checked

__all__ = ["Crawl"]

_STOPPED = PageSkippedError(SkipReason.STOPPED, "the crawl was stopped")
_FULL = PageSkippedError(SkipReason.BUDGET, "the context is full")
_LATE = PageSkippedError(SkipReason.DEADLINE, "the time was up")


class _Snippet(NamedTuple):
    """The search says something about a page."""

    hit: Document


class _Landed(NamedTuple):
    """A page was read."""

    found: Found
    page: WebPage


class _Failed(NamedTuple):
    """A page could not be read."""

    found: Found
    error: Exception


class _Searched(NamedTuple):
    """The search has ended."""

    error: Exception | None


_Arrival: TypeAlias = _Snippet | _Landed | _Failed | _Searched


class Crawl:
    """Searches, reads what is found, and tells about each page as it lands.

    Args:
        search: Finds pages: each of its documents names one.
        reader: Reads them.
        recorder: Writes down what becomes of them.
        config: Bounds.
    """

    def __init__(
        self, search: ContextSource, reader: PageReader, recorder: Recorder, config: WebConfig
    ) -> None:
        self._search = search
        self._reader = reader
        self._recorder = recorder
        self._config = config
        self._admission = Admission(config)
        self._arrivals: asyncio.Queue[_Arrival] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._running = 0  # the search and the pages that are being read
        self._pages = 0
        self._unfinished: dict[Found, None] = {}
        self._claims: dict[str, Found] = {}

    async def events(self, query: str) -> AsyncGenerator[Append, None]:
        """Crawls; closing it stops everything.

        Raises:
            ContextSourceError: The search failed, or no page that it found could be read.
        """
        deadline = asyncio.get_running_loop().time() + self._config.timeout_s
        why, delivered = _STOPPED, False
        try:
            self._running = 1
            self._tasks.append(asyncio.create_task(self._find(query)))
            while self._running and not self._admission.full:
                arrival = await self._next(deadline)
                if arrival is None:
                    why = _LATE
                    break
                document = await self._document(arrival)
                if document is not None:
                    delivered = True
                    yield Append(documents=(document,))
            else:
                why = _FULL
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for found in self._unfinished:
                self._recorder.skipped(found, why)
        if not delivered:
            self._recorder.explain(in_time=why is not _LATE)

    async def _next(self, deadline: float) -> _Arrival | None:
        # What came in time counts, even if the consumer was busy until after the deadline.
        try:
            async with asyncio.timeout_at(deadline):
                return await self._arrivals.get()
        except TimeoutError:
            return None

    async def _document(self, arrival: _Arrival) -> Document | None:
        """Returns the document that an arrival becomes, if it becomes one."""
        match arrival:
            case _Snippet(hit):
                return await self._admission.snippet(hit)
            case _Searched(error):
                self._running -= 1
                if error is not None:
                    raise error
                return None
            case _Failed(found, error):
                self._end(found)
                self._recorder.skipped(found, error)
                return None
            case _Landed(found, page):
                self._end(found)
                return await self._admitted(found, page)
            case _:
                assert_never(arrival)

    async def _admitted(self, found: Found, page: WebPage) -> Document | None:
        try:
            document = await self._admission.page(page, found.hit)
        except PageSkippedError as error:
            self._recorder.skipped(found, error)
            return None
        self._recorder.fetched(found, document)
        self._follow(found, page)
        return document

    def _end(self, found: Found) -> None:
        self._running -= 1
        del self._unfinished[found]

    async def _find(self, query: str) -> None:
        arrival = _Searched(ContextSourceError("the search was cancelled from within"))
        try:
            async with aclosing(events_of(self._search, query)) as events:
                async for event in events:
                    if not all(map(self._take, event.documents)):
                        break
            arrival = _Searched(None)
        except Exception as error:  # noqa: BLE001 - raised where it arrives
            arrival = _Searched(error)
        finally:
            self._arrivals.put_nowait(arrival)

    def _take(self, hit: Document) -> bool:
        """Takes what the search found; returns whether more is wanted."""
        url = str(hit.metadata.get("url", hit.text))
        found = Found(url=url, hit=hit)
        try:
            address = checked(url, self._config.ports)
            self._claim(found, address)
        except PageSkippedError as error:
            self._recorder.skipped(found, error)
        else:
            if self._pages == self._config.max_pages:
                detail = f"{self._pages} pages were found before; see WebConfig.max_pages"
                self._recorder.skipped(found, PageSkippedError(SkipReason.LIMIT, detail))
                return False
            self._start(found, address)
        if self._config.snippets and "url" in hit.metadata and hit.text.strip():
            self._arrivals.put_nowait(_Snippet(hit))
        return True

    def _follow(self, parent: Found, page: WebPage) -> None:
        """Starts to read the pages that a page links to, on its host, as far as they are wanted."""
        for link in page.links:
            if self._pages == self._config.max_pages:
                return
            try:
                address = checked(link, self._config.ports)
            except PageSkippedError:
                continue
            if address.netloc == page.url.netloc and canonical(address) not in self._claims:
                found = Found(url=str(address), depth=parent.depth + 1)
                self._claim(found, address)
                self._start(found, address)

    def _claim(self, found: Found, address: httpx2.URL) -> None:
        owner = self._claims.setdefault(canonical(address), found)
        if owner is not found:
            detail = f"it is the page found at {owner.url}"
            raise PageSkippedError(SkipReason.DUPLICATE, detail)

    def _start(self, found: Found, address: httpx2.URL) -> None:
        self._pages += 1
        self._running += 1
        self._unfinished[found] = None
        self._tasks.append(asyncio.create_task(self._read(found, address)))

    async def _read(self, found: Found, address: httpx2.URL) -> None:
        links = found.depth < self._config.follow_depth
        arrival: _Arrival = _Failed(found, ContextSourceError("it was cancelled from within"))
        try:
            page = await self._reader.read(address, partial(self._claim, found), links=links)
            arrival = _Landed(found, page)
        except Exception as error:  # noqa: BLE001 - the failure of one page is not the crawl's
            arrival = _Failed(found, error)
        finally:
            self._arrivals.put_nowait(arrival)
