"""The web as a context source."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cached_property, partial
from typing import Any

import httpcore2
import httpx2

from stream2llm_rag.events import Append, Update
from stream2llm_rag.sources._retriever import from_retriever
from stream2llm_rag.sources.web._addresses import may_connect
from stream2llm_rag.sources.web._config import WebConfig
from stream2llm_rag.sources.web._crawl import Crawl
from stream2llm_rag.sources.web._fetcher import Fetcher
from stream2llm_rag.sources.web._hosts import Hosts, Pace
from stream2llm_rag.sources.web._network import PinnedBackend, Resolver, resolve
from stream2llm_rag.sources.web._outcome import CrawlReport
from stream2llm_rag.sources.web._parsing import warm_up
from stream2llm_rag.sources.web._reader import PageReader
from stream2llm_rag.sources.web._recorder import Recorder
from stream2llm_rag.sources.web._robots import Robots, RobotsCache
from stream2llm_rag.sources.web._transport import PoolTransport

__all__ = ["WebSource"]

_ACCEPT = (
    "text/html, application/xhtml+xml, application/pdf;q=0.9,"
    " text/markdown;q=0.9, text/plain;q=0.9, application/json;q=0.8"
)


class WebSource:
    """Reads web pages and delivers each as a document when it lands.

    A document's id is the URL of its page without what does not tell pages apart; its metadata hold
    ``url``, ``title``, ``content_type``, ``fetched_at`` and what the search said. A page that
    cannot be read is skipped with a warning; :attr:`report` says why.

    One source may serve many questions, also at once. They share what is known of robots.txt and
    how long ago each host was asked; connections and limits are each question's own. There is no
    proxy: the addresses behind it could not be judged.

    Args:
        pages: URLs, or a search: anything that :func:`~stream2llm_rag.sources.from_retriever`
            takes. Each result is a URL, or a ``Document`` with the URL in ``metadata["url"]`` and a
            snippet, which may be empty, as its text.
        config: Bounds and manners.
        resolve: Looks hosts up; the system does by default.
    """

    def __init__(
        self, pages: Any, config: WebConfig | None = None, *, resolve: Resolver = resolve
    ) -> None:
        self._search = from_retriever(pages)
        self._config = config or WebConfig()
        self._resolve = resolve
        self._pace: Pace = {}
        self._robots: RobotsCache = {}
        self._recorder: Recorder | None = None

    @property
    def report(self) -> CrawlReport | None:
        """What became of the pages of the question asked last; None before the first one.

        It grows while that question's crawl is running.
        """
        return self._recorder.report if self._recorder else None

    async def stream(self, query: str) -> AsyncGenerator[Append | Update, None]:
        """Retrieves for ``query``.

        Raises:
            ContextSourceError: The search failed, or no page that it found could be read.
            ContextTimeoutError: Nothing came within ``WebConfig.timeout_s``.
        """
        recorder = self._recorder = Recorder(query)
        config = self._config
        await warm_up()
        async with self._client() as client:
            fetcher = Fetcher(client, Hosts(self._pace, config.host_concurrency), config)
            reader = PageReader(fetcher, Robots(fetcher, self._robots, config), config)
            crawl = Crawl(self._search, reader, recorder, config)
            async with aclosing(crawl.events(query)) as events:
                async for event in events:
                    yield event

    def _client(self) -> httpx2.AsyncClient:
        config = self._config
        may = partial(_may, config)
        pool = httpcore2.AsyncConnectionPool(
            ssl_context=self._ssl_context,
            max_connections=config.concurrency,
            http2=True,
            network_backend=PinnedBackend(may, self._resolve),
        )
        return httpx2.AsyncClient(
            transport=PoolTransport(pool),
            headers={"User-Agent": config.user_agent, "Accept": _ACCEPT},
            timeout=httpx2.Timeout(config.request_timeout_s, connect=config.connect_timeout_s),
            trust_env=False,
        )

    @cached_property
    def _ssl_context(self) -> Any:
        return httpx2.create_ssl_context()

    def __repr__(self) -> str:
        return f"WebSource({self._search!r})"


def _may(config: WebConfig, address: str) -> bool:
    return config.allow_private or may_connect(address, allowed=config.allowed_networks)
