"""A live context: the events of one retrieval, for any number of consumers while it runs."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

from stream2llm_rag.documents import Document
from stream2llm_rag.errors import ContextClosedError, ContextTimeoutError
from stream2llm_rag.events import Append, Update, ranked_after

__all__ = ["LiveContext"]


class LiveContext:
    """A replayable, thread-safe broadcast of context events.

    A producer on any thread or event loop calls ``put`` and finally ``close``. Every consumer, on
    any thread or loop and started at any time, sees all events from the first one on and then the
    end, or the error the context was closed with.

    It is a handle: copies, deep ones too, are the same context, so that frameworks which copy their
    inputs keep feeding the same consumers.
    """

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._events: list[Append | Update] = []
        self._documents: tuple[Document, ...] = ()
        self._closed = False
        self._error: BaseException | None = None
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()

    def put(self, event: Append | Update) -> None:
        """Adds an event.

        Raises:
            ContextClosedError: The context is already final.
        """
        with self._changed:
            if self._closed:
                msg = f"live context {self.id} is closed; put every event before close()"
                raise ContextClosedError(msg)
            self._events.append(event)
            self._documents = ranked_after(self._documents, event)
            self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """Makes the context final, or failed if ``error`` is given. Only the first call counts."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._error = error
            self._wake()

    @property
    def closed(self) -> bool:
        """Whether no further event can come."""
        return self._closed

    @property
    def error(self) -> BaseException | None:
        """What the context was closed with, if it failed."""
        return self._error

    @property
    def documents(self) -> tuple[Document, ...]:
        """The ranked documents so far."""
        return self._documents

    async def __aiter__(self) -> AsyncIterator[Append | Update]:
        position = 0
        while True:
            with self._changed:
                ready = self._events[position:]
                waiter = None if ready or self._closed else self._new_waiter()
            if waiter is not None:
                await self._wait_for(waiter)
                continue
            if not ready:
                self._raise_error()
                return
            for event in ready:
                yield event
            position += len(ready)

    def iter_events(self) -> Iterator[Append | Update]:
        """Iterates over all events from the first one on, blocking the thread for those to come."""
        position = 0
        while True:
            with self._changed:
                while not self._closed and len(self._events) == position:
                    self._changed.wait()
                ready = self._events[position:]
            if not ready:
                self._raise_error()
                return
            yield from ready
            position += len(ready)

    async def wait(self) -> tuple[Document, ...]:
        """Waits until the context is final and returns its ranked documents."""
        while True:
            with self._changed:
                if self._closed:
                    break
                waiter = self._new_waiter()
            await self._wait_for(waiter)
        self._raise_error()
        return self._documents

    def wait_sync(self, timeout: float | None = None) -> tuple[Document, ...]:
        """Blocks the calling thread until the context is final and returns its ranked documents.

        Raises:
            ContextTimeoutError: The context was not final within ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed, timeout):
                msg = f"{self!r} is not final after {timeout} s; close it or wait longer"
                raise ContextTimeoutError(msg)
        self._raise_error()
        return self._documents

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _new_waiter(self) -> tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]:
        loop = asyncio.get_running_loop()
        waiter = (loop, loop.create_future())
        self._waiters.add(waiter)
        return waiter

    async def _wait_for(
        self, waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]
    ) -> None:
        try:
            await waiter[1]
        finally:
            with self._changed:
                self._waiters.discard(waiter)

    def _wake(self) -> None:
        self._changed.notify_all()
        for loop, future in self._waiters:
            # A loop that was closed took its consumers with it.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, future)
        self._waiters.clear()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        state = "open" if not self._closed else "failed" if self._error else "final"
        return (
            f"LiveContext({self.id[:8]}, {state}, events={len(self._events)},"
            f" documents={len(self._documents)})"
        )


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
