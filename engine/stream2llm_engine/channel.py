"""Hand-over of outputs from the core thread to a consumer on any event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Any

__all__ = ["OutputChannel", "wake"]


def wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> bool:
    """Resolve ``future`` on ``loop`` from any thread; a closed loop has nobody left to wake.

    Returns:
        Whether the loop is there.
    """

    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:
        return False
    return True


class OutputChannel:
    """A queue with one consumer; several items cost one wake-up.

    vLLM's output processor calls :meth:`put` in the core thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: deque[Any] = deque()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self.first_output_s: float | None = None

    def put(self, item: Any) -> None:
        """Add an output or an exception. Thread-safe, never blocks."""
        with self._lock:
            if self.first_output_s is None and not isinstance(item, BaseException):
                self.first_output_s = time.monotonic()
            self._items.append(item)
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            wake(*waiter)

    async def get(self) -> Any:
        """Return the next item, waiting for one if need be."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                loop = asyncio.get_running_loop()
                future: asyncio.Future[None] = loop.create_future()
                self._waiter = (loop, future)
            await future
