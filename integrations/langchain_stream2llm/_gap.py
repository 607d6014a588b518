"""Keeping a producer from running far ahead of whoever takes what it makes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Gap"]


class Gap:
    """Lets one producer wait until those behind it have caught up, on whichever threads they are.

    Args:
        is_full: Whether the producer is as far ahead as it may be; called with the lock held.
    """

    def __init__(self, is_full: Callable[[], bool]) -> None:
        self._is_full = is_full
        self._lock = threading.Lock()
        self._room: Future[None] | None = None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Holds the lock for a change of what ``is_full`` looks at, which may let the producer on.

        Nothing in the block may wait.
        """
        with self._lock:
            try:
                yield
            finally:
                self._let_on()

    def update(self) -> None:
        """Says that what ``is_full`` looks at has changed."""
        with self.changing():
            pass

    async def room(self) -> None:
        """Waits while it is full; always lets others run."""
        await asyncio.sleep(0)
        if (room := self._next_room()) is not None:
            await asyncio.wrap_future(room)

    def room_sync(self) -> None:
        """Does what ``room`` does, for a producer in a thread of its own."""
        if (room := self._next_room()) is not None:
            room.result()

    def _next_room(self) -> Future[None] | None:
        with self._lock:
            self._room = Future() if self._is_full() else None
            return self._room

    def _let_on(self) -> None:
        if self._room is None or self._is_full():
            return
        # The producer may have been cancelled while it waited.
        with suppress(InvalidStateError):
            self._room.set_result(None)
        self._room = None
