"""Sources and answer of one call as one stream, each as soon as it is there."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import aclosing, closing
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import AddableDict

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from langchain_core.documents import Document

__all__ = ["AsyncParts", "Parts"]


class AsyncParts:
    """The parts of one output: ``{"context": documents}``, then ``{"answer": chunk}``.

    Whoever reads them slowly keeps neither the retriever nor the model waiting.
    """

    def __init__(self) -> None:
        self._parts: asyncio.Queue[AddableDict | None] = asyncio.Queue()

    def found(self, documents: list[Document]) -> None:
        """Adds documents."""
        self._parts.put_nowait(AddableDict(context=documents))

    async def with_answer(
        self, answer: AsyncGenerator[Any, None]
    ) -> AsyncGenerator[AddableDict, None]:
        """Yields all parts to the end of the answer; closing it stops the answer."""
        task = asyncio.create_task(self._take(answer))
        try:
            while (part := await self._parts.get()) is not None:
                yield part
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _take(self, answer: AsyncGenerator[Any, None]) -> None:
        try:
            async with aclosing(answer):
                async for chunk in answer:
                    self._parts.put_nowait(AddableDict(answer=chunk))
        finally:
            self._parts.put_nowait(None)


class Parts:
    """What ``AsyncParts`` is, for a synchronous caller."""

    def __init__(self) -> None:
        self._parts: SimpleQueue[AddableDict | BaseException | None] = SimpleQueue()

    def found(self, documents: list[Document]) -> None:
        """Adds documents, from any thread."""
        self._parts.put(AddableDict(context=documents))

    def with_answer(self, answer: Iterator[Any]) -> Iterator[AddableDict]:
        """Yields all parts to the end of the answer, which is made in a thread.

        Closing the iterator stops the answer at its next chunk.
        """
        stopped = threading.Event()
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._take, answer, stopped), daemon=True
        ).start()
        try:
            while (part := self._parts.get()) is not None:
                if isinstance(part, BaseException):
                    raise part
                yield part
        finally:
            stopped.set()

    def _take(self, answer: Iterator[Any], stopped: threading.Event) -> None:
        try:
            with closing(cast("Generator[Any, None, None]", answer)):
                for chunk in answer:
                    if stopped.is_set():
                        return
                    self._parts.put(AddableDict(answer=chunk))
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            self._parts.put(error)
        else:
            self._parts.put(None)
