"""Moving what a retriever finds into a live prompt, for as long as somebody wants the answer."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from langchain_stream2llm._background import run_retrieval, start
from stream2llm_rag.errors import ContextSourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.documents import Document

    from langchain_stream2llm._live_prompt import LivePrompt

__all__ = ["feeding", "feeding_from_thread", "feeding_in_background"]


@asynccontextmanager
async def feeding(live: LivePrompt, found: AsyncIterator[list[Document]]) -> AsyncIterator[None]:
    """Feeds ``live`` while the block runs; leaving the block stops what is still running."""
    task = asyncio.create_task(_feed(live, found))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def feeding_in_background(live: LivePrompt, found: AsyncIterator[list[Document]]) -> Iterator[None]:
    """Does what ``feeding`` does, for a synchronous caller."""
    cancel = start(run_retrieval, _feed(live, found))
    try:
        yield
    finally:
        cancel()


@contextmanager
def feeding_from_thread(live: LivePrompt, found: Iterator[list[Document]]) -> Iterator[None]:
    """Feeds from an iterator that blocks, in a thread; it ends with the item after the block."""
    stopped = threading.Event()
    context = contextvars.copy_context()
    threading.Thread(
        target=context.run, args=(_feed_blocking, live, found, stopped.is_set), daemon=True
    ).start()
    try:
        yield
    finally:
        stopped.set()


async def _feed(live: LivePrompt, found: AsyncIterator[list[Document]]) -> None:
    with _closing(live):
        try:
            async for documents in found:
                live.add(documents)
                await live.context.room()
        finally:
            if isinstance(found, AsyncGenerator):
                await found.aclose()


def _feed_blocking(
    live: LivePrompt, found: Iterator[list[Document]], stopped: Callable[[], bool]
) -> None:
    with _closing(live):
        for documents in found:
            if stopped():
                msg = "the retrieval was cancelled; start it again"
                raise ContextSourceError(msg)
            live.add(documents)
            live.context.room_sync()


@contextmanager
def _closing(live: LivePrompt) -> Iterator[None]:
    """Makes the context final, or failed with what the block raises."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised by whoever reads the prompt
        live.context.close(error)
    except BaseException:
        live.context.close(ContextSourceError("the retrieval was cancelled; start it again"))
        raise
    else:
        live.context.close()
