"""Running a synchronous producer without blocking the event loop."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["iterate_in_thread", "run_in_thread"]

T = TypeVar("T")
_AHEAD = 8


async def run_in_thread(function: Callable[[], T]) -> T:
    """Calls ``function`` in a thread of its own and awaits the result."""
    async for result in iterate_in_thread(lambda: [function()]):
        return result
    raise AssertionError("the thread ended without a result or an error")


async def iterate_in_thread(produce: Callable[[], Iterable[T]]) -> AsyncGenerator[T, None]:
    """Iterates over ``produce()`` in a thread of its own.

    The event loop's default pool has a handful of threads on a small machine and is joined at exit,
    so that a few slow retrievers would block every other and one that hangs would block the exit. A
    daemon thread per retrieval does neither. When the consumer stops, so does the thread, as soon
    as the producer returns from the item it is working on; a generator is closed then.
    """
    producer = _Producer[T](asyncio.get_running_loop(), produce)
    context = contextvars.copy_context()
    threading.Thread(
        target=context.run, args=(producer.run,), name="stream2llm-source", daemon=True
    ).start()
    try:
        while (item := await producer.items.get()) is not None:
            producer.room.release()
            yield item[0]
        if producer.error is not None:
            raise producer.error
    finally:
        producer.stopped = True
        producer.room.release()


class _Producer(Generic[T]):
    """Items are wrapped in one-tuples; None is the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, produce: Callable[[], Iterable[T]]) -> None:
        self.items: asyncio.Queue[tuple[T] | None] = asyncio.Queue()
        self.room = threading.Semaphore(_AHEAD)
        self.stopped = False
        self.error: Exception | None = None
        self._loop = loop
        self._produce = produce

    def run(self) -> None:
        try:
            produced = iter(self._produce())
            try:
                self._forward(produced)
            finally:
                if isinstance(produced, Generator):
                    produced.close()
        except Exception as error:  # noqa: BLE001 - handed to the consumer
            self.error = error
        self._send(None)

    def _forward(self, produced: Iterator[T]) -> None:
        for item in produced:
            self.room.acquire()
            if self.stopped:
                return
            self._send((item,))

    def _send(self, item: tuple[T] | None) -> None:
        # The loop may be gone when the producer comes back; then nobody is waiting.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.items.put_nowait, item)
