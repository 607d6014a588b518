"""Backpressure between a fast source and a slow consumer."""

import asyncio
from collections.abc import AsyncIterator

from stream2llm_rag.events import Append, Update
from stream2llm_rag.sources._protocol import ContextSource
from stream2llm_rag.sources._pump import MAX_PENDING, Pump

__all__ = ["coalesce"]


def coalesce(source: ContextSource, *, max_pending: int = MAX_PENDING) -> ContextSource:
    """Lets ``source`` work while its events are consumed, and makes waiting events one.

    An engine that is busy with one event so gets the newest ranking next and not every one that was
    superseded meanwhile. The context that all events lead to stays the same.

    Args:
        source: The source.
        max_pending: Documents that may wait; a source that appends more waits itself.
    """
    if max_pending < 1:
        msg = f"max_pending must be at least 1, got {max_pending}"
        raise ValueError(msg)
    return _Coalesced(source, max_pending)


class _Coalesced:
    def __init__(self, source: ContextSource, max_pending: int) -> None:
        self._source = source
        self._max_pending = max_pending

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        ready: asyncio.Queue[Pump] = asyncio.Queue()
        pump = Pump(self._source, query, ready, max_pending=self._max_pending)
        try:
            await ready.get()
            while (event := pump.take()) is not None:
                yield event
                await ready.get()
            if pump.error is not None:
                raise pump.error
        finally:
            await pump.stop()

    def __repr__(self) -> str:
        return f"coalesce({self._source!r})"
