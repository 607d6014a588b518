"""Running a source ahead of its consumer, but never far ahead."""

import asyncio
from contextlib import aclosing

from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.events import Append, Update
from stream2llm_rag.sources._change import coalesced
from stream2llm_rag.sources._protocol import ContextSource, events_of

__all__ = ["MAX_PENDING", "Pump"]

MAX_PENDING = 64
"""Documents that may wait for a consumer before their source has to wait as well."""

# The event loop itself only keeps weak references to tasks.
_abandoned: set[asyncio.Task[None]] = set()


class Pump:
    """Runs one stream of a source in a task of its own.

    What the consumer has not taken yet is held as one event: appends add up and an update replaces
    what it makes obsolete. A source that appends faster than the consumer takes is held back.

    Args:
        source: The source.
        query: The query.
        ready: Where the pump puts itself whenever there is an event to take, and once more at the
            end. Several pumps may share it.
        max_pending: Documents that may wait before an append has to.
    """

    def __init__(
        self,
        source: ContextSource,
        query: str,
        ready: "asyncio.Queue[Pump]",
        *,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.source = source
        self.ended = False
        self.error: Exception | None = None
        self._ready = ready
        self._max_pending = max_pending
        self._pending: Append | Update | None = None
        self._taken = asyncio.Event()
        self._task = asyncio.create_task(self._run(query))

    def take(self) -> Append | Update | None:
        """Returns what is waiting, as one event; None if nothing is."""
        event, self._pending = self._pending, None
        self._taken.set()
        return event

    async def stop(self) -> None:
        """Cancels the source and waits until it is closed, unless it was abandoned."""
        self._task.cancel()
        if self._task not in _abandoned:
            await asyncio.gather(self._task, return_exceptions=True)

    def abandon(self) -> None:
        """Cancels the source without waiting for it to close."""
        self._task.cancel()
        _abandoned.add(self._task)
        self._task.add_done_callback(_abandoned.discard)

    async def _run(self, query: str) -> None:
        try:
            async with aclosing(events_of(self.source, query)) as events:
                async for event in events:
                    await self._offer(event)
        except asyncio.CancelledError:
            # Also when something inside the source was cancelled: nobody must wait for it forever.
            self.error = ContextSourceError(f"{self.source!r} was cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - judged by the consumer
            self.error = error
        finally:
            self.ended = True
            self._ready.put_nowait(self)

    async def _offer(self, event: Append | Update) -> None:
        while isinstance(event, Append) and self._is_full():
            self._taken.clear()
            await self._taken.wait()
        if self._pending is None:
            self._pending = event
            self._ready.put_nowait(self)
        else:
            self._pending = coalesced(self._pending, event)
        # A source that never waits would otherwise keep the consumer from the loop.
        await asyncio.sleep(0)

    def _is_full(self) -> bool:
        return self._pending is not None and len(self._pending.documents) >= self._max_pending
