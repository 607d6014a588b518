"""A context that its producer can fill at the pace of its readers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from langchain_stream2llm._gap import Gap
from stream2llm_rag import LiveContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from stream2llm_rag import Append, Document, Update

__all__ = ["PacedContext"]

_AHEAD = 64
"""How many events the producer may be ahead: enough that a model never waits for one."""


class PacedContext(LiveContext):
    """A live context that tells its producer to wait while it is far ahead of its readers.

    A retriever that finds documents without end, or without ever waiting for anything, then fills
    neither the memory nor the event loop, not even while the model is still loading. Whoever wants
    nothing but the whole is no reader to wait for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._gap = Gap(self._is_full)
        self._count = 0
        self._taken: dict[object, int] = {}
        self._wanted_whole = 0

    def put(self, event: Append | Update) -> None:
        """Adds an event.

        Raises:
            ContextClosedError: The context is already final.
        """
        super().put(event)
        with self._gap.changing():
            self._count += 1

    async def room(self) -> None:
        """Waits until no reader is far behind; always lets others run."""
        await self._gap.room()

    def room_sync(self) -> None:
        """Does what ``room`` does, for a producer in a thread of its own."""
        self._gap.room_sync()

    async def __aiter__(self) -> AsyncIterator[Append | Update]:
        with self._reading() as took_one:
            async for event in super().__aiter__():
                yield event
                took_one()

    def iter_events(self) -> Iterator[Append | Update]:
        """Iterates over all events from the first one on, blocking the thread for those to come."""
        with self._reading() as took_one:
            for event in super().iter_events():
                yield event
                took_one()

    async def wait(self) -> tuple[Document, ...]:
        """Waits until the context is final and returns its ranked documents."""
        with self._wanting_the_whole():
            return await super().wait()

    def wait_sync(self, timeout: float | None = None) -> tuple[Document, ...]:
        """Blocks the calling thread until the context is final and returns its ranked documents.

        Raises:
            ContextTimeoutError: The context was not final within ``timeout`` seconds.
        """
        with self._wanting_the_whole():
            return super().wait_sync(timeout)

    @contextmanager
    def _reading(self) -> Iterator[Callable[[], None]]:
        reader = object()

        def took_one() -> None:
            with self._gap.changing():
                self._taken[reader] += 1

        with self._gap.changing():
            self._taken[reader] = 0
        try:
            yield took_one
        finally:
            with self._gap.changing():
                del self._taken[reader]

    @contextmanager
    def _wanting_the_whole(self) -> Iterator[None]:
        with self._gap.changing():
            self._wanted_whole += 1
        try:
            yield
        finally:
            with self._gap.changing():
                self._wanted_whole -= 1

    def _is_full(self) -> bool:
        if self._wanted_whole:
            return False
        return self._count - min(self._taken.values(), default=0) > _AHEAD
