"""Turns at each host, so that none is asked too much at once or too often."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

__all__ = ["Hosts", "Pace"]

Pace: TypeAlias = dict[str, float]
"""When the next request to each host may start, in seconds of the monotonic clock."""

_MANY_HOSTS = 1000


class Hosts:
    """The turns of one crawl.

    Args:
        pace: Shared by crawls that are to be polite together.
        concurrency: Requests at once to one host.
    """

    def __init__(self, pace: Pace, concurrency: int) -> None:
        self._pace = pace
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(concurrency)
        )

    @asynccontextmanager
    async def turn(self, host: str, delay_s: float) -> AsyncIterator[None]:
        """Waits for a turn; the next one starts ``delay_s`` later at the earliest."""
        async with self._slots[host]:
            await self._paced(host)
            self.hold(host, delay_s)
            yield

    def hold(self, host: str, seconds: float) -> None:
        """Lets no turn start for some time."""
        now = time.monotonic()
        if len(self._pace) > _MANY_HOSTS:
            for past in [name for name, due in self._pace.items() if due < now]:
                del self._pace[past]
        self._pace[host] = max(self._pace.get(host, 0.0), now + seconds)

    async def _paced(self, host: str) -> None:
        # Others may start first or hold the host longer meanwhile.
        while (wait_s := self._pace.get(host, 0.0) - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait_s)
