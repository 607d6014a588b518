"""GET with redirects, retries and time limits."""

import asyncio
import email.utils
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import httpx2

from stream2llm_rag.sources.web._config import WebConfig
from stream2llm_rag.sources.web._hosts import Hosts
from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._urls import checked

__all__ = ["Fetcher", "read_body"]

T = TypeVar("T")
Read: TypeAlias = Callable[[httpx2.Response], Awaitable[T]]
"""Reads what is wanted of a response whose body has not been read."""
Enter: TypeAlias = Callable[[httpx2.URL], Awaitable[float]]
"""Decides whether to ask a URL, and returns how many seconds to leave its host alone then."""

_BUSY = {429, 503}
_FIRST_BACKOFF_S = 0.2
_SHORT = 65_536


class _Redirect(NamedTuple):
    url: httpx2.URL


class _Answer(NamedTuple, Generic[T]):
    value: T


class _BusyError(Exception):
    """The request is worth another try."""

    def __init__(self, skipped: PageSkippedError, after_s: float | None = None) -> None:
        super().__init__(str(skipped))
        self.skipped = skipped
        self.after_s = after_s


class Fetcher:
    """Gets what URLs lead to, within the bounds of a crawl.

    Args:
        client: Follows no redirects.
        hosts: Turns at hosts.
        config: Bounds.
    """

    def __init__(self, client: httpx2.AsyncClient, hosts: Hosts, config: WebConfig) -> None:
        self._client = client
        self._hosts = hosts
        self._config = config
        self._slots = asyncio.Semaphore(config.concurrency)

    async def get(self, url: httpx2.URL, read: Read[T], enter: Enter) -> T:
        """Gets ``url``, following redirects.

        Args:
            url: Where to start.
            read: Reads the final response.
            enter: Asked for ``url`` and for every URL on the way.

        Raises:
            PageSkippedError: There is nothing to be had.
        """
        for _ in range(self._config.max_redirects + 1):
            answer = await self._ask(url, read, await enter(url))
            if not isinstance(answer, _Redirect):
                return answer.value
            url = checked(answer.url, self._config.ports)
        detail = f"more than {self._config.max_redirects} redirects"
        raise PageSkippedError(SkipReason.REDIRECTS, detail)

    async def _ask(self, url: httpx2.URL, read: Read[T], delay_s: float) -> _Answer[T] | _Redirect:
        for attempt in count():
            try:
                async with self._hosts.turn(url.host, delay_s), self._slots:
                    async with asyncio.timeout(self._config.request_timeout_s):
                        return await self._attempt(url, read)
            except TimeoutError as error:
                detail = f"no complete answer within {self._config.request_timeout_s} s"
                raise PageSkippedError(SkipReason.TIMEOUT, detail) from error
            except _BusyError as busy:
                backoff_s = _FIRST_BACKOFF_S * 2**attempt * random.uniform(0.5, 1.5)
                wait_s = backoff_s if busy.after_s is None else busy.after_s
                if attempt == self._config.retries or wait_s > self._config.max_retry_wait_s:
                    raise busy.skipped from busy
                self._hosts.hold(url.host, wait_s)
        raise AssertionError("count() does not end")

    async def _attempt(self, url: httpx2.URL, read: Read[T]) -> _Answer[T] | _Redirect:
        response = await self._send(url)
        try:
            if response.status_code in _BUSY:
                skipped = PageSkippedError(SkipReason.STATUS, f"HTTP {response.status_code}")
                raise _BusyError(skipped, _retry_after(response))
            if response.next_request is not None:
                await _drain(response)
                return _Redirect(response.next_request.url)
            return _Answer(await read(response))
        except httpx2.HTTPError as error:
            raise PageSkippedError(SkipReason.UNREACHABLE, f"broke off: {error!r}") from error
        finally:
            await response.aclose()

    async def _send(self, url: httpx2.URL) -> httpx2.Response:
        try:
            return await self._client.send(self._client.build_request("GET", url), stream=True)
        except httpx2.HTTPError as error:
            raise _BusyError(PageSkippedError(SkipReason.UNREACHABLE, repr(error))) from error


async def read_body(response: httpx2.Response, limit: int) -> bytearray:
    """Reads a body until it ends or has more than ``limit`` decompressed bytes.

    The decompressors work in pieces of at most 1 MiB, so no more than that is ever in excess.
    """
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > limit:
            break
    return body


async def _drain(response: httpx2.Response) -> None:
    """Reads a short body, so that the connection can be used again."""
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared) <= _SHORT:
        await read_body(response, _SHORT)


def _retry_after(response: httpx2.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        due = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return max(0.0, (due - datetime.now(UTC)).total_seconds())
