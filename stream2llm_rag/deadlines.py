"""A bound on how long all items of a stream may take."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")


async def within(
    items: AsyncGenerator[T, None], timeout_s: float | None, error: Exception
) -> AsyncGenerator[T, None]:
    """Passes items on until the time is over, and closes their generator in any case.

    Args:
        items: The items; what makes them is cancelled when the time is over.
        timeout_s: Seconds from the first item that is asked for; ``None``: as long as it takes.
        error: What to raise when it is over.
    """
    deadline = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
    async with aclosing(items):
        while True:
            # Around one step only: a limit that spans a yield would cancel the consumer.
            limit = asyncio.timeout_at(deadline)
            try:
                async with limit:
                    item = await anext(items)
            except StopAsyncIteration:
                return
            except TimeoutError as timeout:
                if not limit.expired():
                    raise
                raise error from timeout
            yield item
