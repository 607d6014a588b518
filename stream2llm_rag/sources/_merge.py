"""Several sources as one, in arrival order."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Literal, assert_never

from stream2llm_rag.documents import Document
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.events import Append, Update, ranked_after
from stream2llm_rag.sources._protocol import ContextSource, events_of

__all__ = ["merge"]

_logger = logging.getLogger(__name__)


def merge(*sources: ContextSource, on_error: Literal["fail", "skip"] = "fail") -> ContextSource:
    """Runs sources side by side and passes their events on as they arrive.

    An ``Append`` passes unchanged. An ``Update`` of one source retracts documents of that source
    only: it becomes an update to the lists of all sources, one behind the other, those that
    delivered first in front.

    Args:
        *sources: At least one.
        on_error: ``"fail"`` stops all when one fails. ``"skip"`` logs a warning, keeps what the
            failed source delivered and goes on with the others; only if all fail does the merge
            fail.
    """
    if not sources:
        msg = "merge() takes at least one source"
        raise ValueError(msg)
    return _Merged(sources, skip_errors=on_error == "skip")


class _Merged:
    def __init__(self, sources: tuple[ContextSource, ...], *, skip_errors: bool) -> None:
        self._sources = sources
        self._skip_errors = skip_errors

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        arrivals: asyncio.Queue[tuple[int, Append | Update | Exception | None]] = asyncio.Queue()
        tasks = [
            asyncio.create_task(_forward(source, query, number, arrivals))
            for number, source in enumerate(self._sources)
        ]
        lists: dict[int, tuple[Document, ...]] = {}
        running, failed = len(tasks), 0
        try:
            while running:
                number, arrival = await arrivals.get()
                if arrival is None:
                    running -= 1
                elif isinstance(arrival, Exception):
                    running -= 1
                    failed += 1
                    self._take_error(number, arrival, last=failed == len(tasks))
                else:
                    lists[number] = ranked_after(lists.get(number, ()), arrival)
                    yield _merged_event(arrival, lists)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take_error(self, number: int, error: Exception, *, last: bool) -> None:
        source = self._sources[number]
        if self._skip_errors and not last:
            _logger.warning("context source %r failed and is skipped: %r", source, error)
        else:
            raise error

    def __repr__(self) -> str:
        return f"merge({', '.join(map(repr, self._sources))})"


async def _forward(
    source: ContextSource,
    query: str,
    number: int,
    arrivals: asyncio.Queue[tuple[int, Append | Update | Exception | None]],
) -> None:
    try:
        async with aclosing(events_of(source, query)) as events:
            async for event in events:
                arrivals.put_nowait((number, event))
    except asyncio.CancelledError:
        # Also when something inside the source was cancelled: the merge must not wait for it.
        arrivals.put_nowait((number, ContextSourceError(f"{source!r} was cancelled")))
        raise
    except Exception as error:  # noqa: BLE001 - judged by the merge's error policy
        arrivals.put_nowait((number, error))
    else:
        arrivals.put_nowait((number, None))


def _merged_event(
    event: Append | Update, lists: dict[int, tuple[Document, ...]]
) -> Append | Update:
    match event:
        case Append():
            return event
        case Update():
            return Update(documents=tuple(doc for ranked in lists.values() for doc in ranked))
        case _:
            assert_never(event)
