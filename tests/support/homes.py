"""What a measuring process may be the home of, without an engine."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stream2llm_bench.measuring_process import report_progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["adder", "counting", "fragile", "parent", "refusing", "waiting"]


@asynccontextmanager
async def adder(summand: int) -> AsyncIterator[Callable[[int], Awaitable[int]]]:
    """Answers with a sum."""

    async def answer(call: int) -> int:
        return call + summand

    yield answer


def refusing() -> AbstractAsyncContextManager[Callable[[object], Awaitable[None]]]:
    """Does not start."""
    msg = "this home cannot start"
    raise ValueError(msg)


@asynccontextmanager
async def fragile() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Dies, or fails, when it is called."""

    async def answer(call: str) -> None:
        if call == "die":
            sys.stderr.write("these are my last words\n")
            sys.stderr.flush()
            os._exit(3)
        raise ValueError(call)

    yield answer


@asynccontextmanager
async def parent() -> AsyncIterator[Callable[[str], Awaitable[int]]]:
    """Answers with the id of a process that it started and that does not end by itself."""
    child = await asyncio.create_subprocess_exec("sleep", "600")

    async def answer(call: str) -> int:
        if call == "die":
            os._exit(3)
        return child.pid

    yield answer


@asynccontextmanager
async def counting() -> AsyncIterator[Callable[[int], Awaitable[str]]]:
    """Reports every number up to the one it is called with."""

    async def answer(call: int) -> str:
        for number in range(call):
            report_progress(number)
        return "counted"

    yield answer


@asynccontextmanager
async def waiting(left: str) -> AsyncIterator[Callable[[None], Awaitable[None]]]:
    """Never answers; writes a file when it is left."""

    async def answer(call: None) -> None:
        await asyncio.Event().wait()

    try:
        yield answer
    finally:
        Path(left).touch()  # noqa: ASYNC240 - nothing else runs on this loop
