"""What a measuring process may be the home of, without an engine."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["adder", "fragile", "parent", "refusing"]


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
