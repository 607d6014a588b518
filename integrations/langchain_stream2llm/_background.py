"""Asynchronous work for synchronous callers.

Answers run on the engine's own loop, retrievals on another one: a retriever that blocks must not
stop the tokens of others, and may have no engine at all.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stream2llm_engine.background_loop import BackgroundLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

__all__ = ["Run", "iterate", "run_retrieval", "start"]

T = TypeVar("T")

# A loop holds its tasks weakly: one whose caller is gone must live on until it was cancelled.
_running: set[asyncio.Task[None]] = set()


class Run(Protocol):
    """Runs a coroutine on a certain loop and waits for its result."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T:
        """Runs ``coroutine``."""
        ...


run_retrieval: Run = BackgroundLoop().run


def start(run: Run, coroutine: Coroutine[Any, Any, None]) -> Callable[[], None]:
    """Starts a coroutine without waiting for it, and returns a function that cancels it."""

    async def launch() -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        _running.add(task)
        task.add_done_callback(_running.discard)
        return task

    task = run(launch())

    def cancel() -> None:
        # A loop that was closed took its tasks with it.
        with suppress(RuntimeError):
            task.get_loop().call_soon_threadsafe(task.cancel)

    return cancel


def iterate(run: Run, generator: AsyncGenerator[T, None]) -> Iterator[T]:
    """Iterates in the calling thread over a generator that runs ahead in the background.

    Leaving the iteration early closes the generator.
    """
    ready: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()

    async def pump() -> None:
        try:
            async with aclosing(generator):
                async for item in generator:
                    ready.put((item,))
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            ready.put(error)
        else:
            ready.put(None)

    cancel = start(run, pump())
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        cancel()
