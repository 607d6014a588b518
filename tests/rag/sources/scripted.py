"""Sources and consumers whose every step the test decides."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from stream2llm_rag import Append, Document, Update
from stream2llm_rag.events import ranked_after
from stream2llm_rag.sources import ContextSource


class Scripted:
    """A source whose events are released by the test: an error fails it, None ends it."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Append | Update | Exception | None] = asyncio.Queue()
        self.closed = False

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        try:
            while (event := await self.events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed = True


async def collect(source: ContextSource) -> list[Append | Update]:
    return [event async for event in source.stream("q")]


def final(events: Iterable[Append | Update]) -> tuple[Document, ...]:
    current: tuple[Document, ...] = ()
    for event in events:
        current = ranked_after(current, event)
    return current


async def turns(count: int) -> None:
    """Lets everything else on the event loop take its turn."""
    for _ in range(count):
        await asyncio.sleep(0)
