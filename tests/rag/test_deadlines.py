"""A bound on a whole stream, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from stream2llm_rag.deadlines import within
from tests.support.virtual_time import run


class LateError(Exception):
    """What a caller wants to be told."""


class Items:
    """One item a second, and whether their generator was closed."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.closed_s: float | None = None
        self._count = count
        self._error = error

    async def stream(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self._count):
                await asyncio.sleep(1)
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.closed_s = asyncio.get_running_loop().time()


async def taken(items: Items, timeout_s: float | None, pause_s: float = 0) -> list[int]:
    got: list[int] = []
    async with aclosing(within(items.stream(), timeout_s, LateError(f"{got}"))) as in_time:
        async for item in in_time:
            got.append(item)
            await asyncio.sleep(pause_s)
    return got


@pytest.mark.parametrize("timeout_s", [None, 3.5])
def test_what_is_in_time_passes(timeout_s: float | None) -> None:
    items = Items(3)
    assert run(taken(items, timeout_s)) == [0, 1, 2]
    assert items.closed_s == 3


def test_when_the_time_is_over_the_work_stops() -> None:
    items = Items(100)
    with pytest.raises(LateError):
        run(taken(items, 4.5))
    assert items.closed_s == 4.5


def test_the_time_of_the_consumer_counts_and_it_is_not_cancelled() -> None:
    items = Items(100)
    with pytest.raises(LateError):
        run(taken(items, 4.5, pause_s=5))
    # It took one item, at 1, and paused to the end.
    assert items.closed_s == 6


def test_a_timeout_of_the_items_themselves_passes() -> None:
    items = Items(1, TimeoutError("theirs"))
    with pytest.raises(TimeoutError, match="theirs"):
        run(taken(items, 5))


def test_leaving_closes_the_items() -> None:
    items = Items(100)

    async def leave() -> None:
        async with aclosing(within(items.stream(), 50, LateError())) as in_time:
            assert await anext(in_time) == 0

    run(leave())
    assert items.closed_s == 1
