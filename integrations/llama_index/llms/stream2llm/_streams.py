"""Streams that work ahead of their reader, so that prefill starts with the call that asks.

Dropping or closing one stops its work. Both are real generators to ``isinstance``, by which
LlamaIndex tells a streamed answer from a complete one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from stream2llm_engine.errors import SessionClosedError, UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from llama_index.llms.stream2llm._live_nodes import LiveNodes
    from llama_index.llms.stream2llm._pieces import Piece
    from stream2llm_engine import StreamEngine

__all__ = ["AsyncStream", "Stream", "Work"]

T = TypeVar("T")
# A piece, or how the stream ended.
_Arrival: TypeAlias = "Piece | Exception | None"
_Pieces: TypeAlias = "AsyncGenerator[Piece, None]"


class Work:
    """A task on the running loop, to be stopped from any thread."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], on_end: Callable[[], object] | None = None
    ) -> None:
        self._task = asyncio.create_task(coroutine)
        self._loop = asyncio.get_running_loop()
        if on_end is not None:
            # Not in the coroutine, which never begins if it is cancelled early.
            self._task.add_done_callback(lambda _: on_end())

    def stop(self) -> None:
        """Cancels the task, if it is still running."""
        if not self._task.done():
            # A loop that was closed took its tasks with it.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def stopped(self) -> None:
        """Cancels the task and waits until it has ended."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class AsyncStream(AsyncGenerator[T, None]):
    """Reads pieces ahead on the running loop and hands them out as what ``convert`` makes."""

    def __init__(
        self, pieces: _Pieces, convert: Callable[[Piece], T], live: LiveNodes | None = None
    ) -> None:
        self._arrivals: asyncio.Queue[_Arrival] = asyncio.Queue()
        self._convert = convert
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._work = _start(pieces, self._arrivals.put_nowait, live)

    async def asend(self, value: None) -> T:
        """Returns the next item."""
        del value
        if self._ended:
            raise StopAsyncIteration
        if self._arrivals.empty() and asyncio.get_running_loop() is not self._loop:
            # `str()` of an asynchronous response does this, and blocks the loop it waits for.
            msg = (
                "an answer can be read on the event loop it was asked on only: use `async for` or"
                " `await response.get_response()` instead of `str(response)`"
            )
            raise UnsupportedFeatureError(msg)
        arrival = await self._arrivals.get()
        if arrival is None or isinstance(arrival, Exception):
            self._ended = True
            raise arrival or StopAsyncIteration
        return self._convert(arrival)

    async def athrow(self, *error: Any) -> NoReturn:
        """Stops the work and raises the error."""
        await self.aclose()
        raise error[1] if len(error) > 1 and error[1] is not None else error[0]

    async def aclose(self) -> None:
        """Stops the work and waits until it has ended."""
        self._ended = True
        await self._work.stopped()

    def __del__(self) -> None:
        if hasattr(self, "_work"):
            self._work.stop()


class Stream(Generator[T, None, None]):
    """Reads pieces ahead on the engine's own loop, for a reader without one."""

    def __init__(
        self,
        engine: StreamEngine,
        pieces: _Pieces,
        convert: Callable[[Piece], T],
        live: LiveNodes | None = None,
    ) -> None:
        self._arrivals: SimpleQueue[_Arrival] = SimpleQueue()
        self._convert = convert
        self._ended = False
        self._work = engine.run(_start_here(pieces, self._arrivals.put, live))

    def send(self, value: None) -> T:
        """Returns the next item."""
        del value
        if self._ended:
            raise StopIteration
        arrival = self._arrivals.get()
        if arrival is None or isinstance(arrival, Exception):
            self._ended = True
            raise arrival or StopIteration
        return self._convert(arrival)

    def throw(self, *error: Any) -> NoReturn:
        """Stops the work and raises the error."""
        self.close()
        raise error[1] if len(error) > 1 and error[1] is not None else error[0]

    def close(self) -> None:
        """Stops the work."""
        self._ended = True
        self._work.stop()

    def __del__(self) -> None:
        if hasattr(self, "_work"):
            self._work.stop()


def _start(pieces: _Pieces, put: Callable[[_Arrival], None], live: LiveNodes | None) -> Work:
    if live is None:
        return Work(_pump(pieces, put))
    work = Work(_pump(pieces, put), on_end=live.abandon)
    live.on_abandon(work.stop)
    return work


async def _start_here(
    pieces: _Pieces, put: Callable[[_Arrival], None], live: LiveNodes | None
) -> Work:
    return _start(pieces, put, live)


async def _pump(pieces: _Pieces, put: Callable[[_Arrival], None]) -> None:
    # Must not know the stream: it is the reader's dropping it that ends this.
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                put(piece)
    except asyncio.CancelledError:
        msg = "the answer was stopped, or its event loop or engine shut down: ask again"
        put(SessionClosedError(msg))
        raise
    except Exception as error:  # noqa: BLE001 - raised to the reader
        put(error)
    else:
        put(None)
