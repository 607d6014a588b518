"""robots.txt, as RFC 9309 has it."""

import asyncio
import time
from collections import defaultdict
from typing import NamedTuple, TypeAlias

import httpx2

from stream2llm_rag.sources.web._config import WebConfig
from stream2llm_rag.sources.web._fetcher import Fetcher, read_body
from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._parsing import RobotsJob, parse_robots

__all__ = ["Robots", "RobotsCache"]

_MAX_BYTES = 512_000
_MAX_AGE_S = 3600.0
_MANY_ORIGINS = 1000


class _Kept(NamedTuple):
    until: float
    text: bytes


RobotsCache: TypeAlias = dict[str, _Kept]
"""The robots.txt of each origin; empty if it has none."""


class Robots:
    """What hosts allow in one crawl.

    Args:
        fetcher: Gets robots.txt.
        cache: What earlier crawls found.
        config: Names the user agent.
    """

    def __init__(self, fetcher: Fetcher, cache: RobotsCache, config: WebConfig) -> None:
        self._fetcher = fetcher
        self._cache = cache
        self._config = config
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failures: dict[str, PageSkippedError] = {}

    async def check(self, url: httpx2.URL) -> float:
        """Returns how long to leave the host of ``url`` alone after asking for it, in seconds.

        Raises:
            PageSkippedError: It does not want ``url`` to be asked for, or did not answer.
        """
        if not self._config.respect_robots:
            return self._config.host_delay_s
        text = await self._text(url)
        if not text:
            return self._config.host_delay_s
        job = RobotsJob(url=str(url), user_agent=self._config.user_agent)
        rules = await parse_robots(job, text, timeout_s=self._config.parse_timeout_s)
        if not rules.allowed:
            raise PageSkippedError(SkipReason.ROBOTS, "robots.txt disallows it")
        return max(rules.crawl_delay_s, self._config.host_delay_s)

    async def _text(self, url: httpx2.URL) -> bytes:
        address = url.copy_with(raw_path=b"/robots.txt")
        origin = str(address)
        async with self._locks[origin]:
            kept = self._cache.get(origin)
            if kept is not None and kept.until > time.monotonic():
                return kept.text
            if origin in self._failures:
                raise self._failures[origin]
            try:
                text = await self._fetcher.get(address, _read, _enter)
            except PageSkippedError as error:
                failure = PageSkippedError(error.reason, f"robots.txt: {error.detail}")
                self._failures[origin] = failure
                raise failure from error
            self._keep(origin, text)
            return text

    def _keep(self, origin: str, text: bytes) -> None:
        now = time.monotonic()
        if len(self._cache) > _MANY_ORIGINS:
            self._cache.clear()
        self._cache[origin] = _Kept(now + _MAX_AGE_S, text)


async def _enter(url: httpx2.URL) -> float:
    del url
    return 0.0


async def _read(response: httpx2.Response) -> bytes:
    if not response.is_success and not response.is_client_error:
        raise PageSkippedError(SkipReason.ROBOTS, f"HTTP {response.status_code}")
    # Rules beyond what RFC 9309 lets a crawler stop at are left out. What an error says is read
    # so that the connection can be used again.
    text = bytes(await read_body(response, _MAX_BYTES))[:_MAX_BYTES]
    return text if response.is_success else b""
