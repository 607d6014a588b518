"""The events of a source on their way into the engine."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from stream2llm_rag.events import Append, Update
from stream2llm_rag.pipeline._feed import Feed
from stream2llm_rag.sources import ContextSource, coalesce, events_of

__all__ = ["sent"]


async def sent(
    source: ContextSource, question: str, feed: Feed, *, coalesced: bool
) -> AsyncGenerator[Append | Update, None]:
    """Sends a source's events to the engine and passes them on.

    Args:
        source: The source.
        question: What to search for.
        feed: The way into the engine.
        coalesced: Send an event only when the engine has computed the one before, and make one of
            what comes meanwhile. Once the source has ended nothing waits any more.
    """
    ending = _Ending(source)
    # Never held back: under memory pressure the engine may get to what it was sent only when the
    # prompt is complete, and that needs the source to end.
    paced = coalesce(ending, max_pending=sys.maxsize) if coalesced else source
    async with aclosing(events_of(paced, question)) as events:
        async for event in events:
            await feed.send(event)
            yield event
            if coalesced:
                await _computed(feed, ending.ended)


async def _computed(feed: Feed, ended: asyncio.Event) -> None:
    """Waits until the engine has computed what it was sent, or until ``ended``."""
    computed = asyncio.create_task(feed.computed())
    over = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait((computed, over), return_when=asyncio.FIRST_COMPLETED)
        if computed.done():
            computed.result()
    finally:
        computed.cancel()
        over.cancel()
        await asyncio.gather(computed, over, return_exceptions=True)


class _Ending:
    """A source, for one question, that tells when it has ended, whether well or not."""

    def __init__(self, source: ContextSource) -> None:
        self.ended = asyncio.Event()
        self._source = source

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        try:
            async with aclosing(events_of(self._source, query)) as events:
                async for event in events:
                    yield event
        finally:
            self.ended.set()

    def __repr__(self) -> str:
        return repr(self._source)
