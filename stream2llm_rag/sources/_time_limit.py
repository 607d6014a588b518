"""A bound on how long a source may take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Literal

from stream2llm_rag.errors import ContextTimeoutError
from stream2llm_rag.events import Append, Update
from stream2llm_rag.sources._protocol import ContextSource, events_of

__all__ = ["time_limit"]


def time_limit(
    source: ContextSource, timeout_s: float, *, on_timeout: Literal["fail", "finish"] = "fail"
) -> ContextSource:
    """Bounds the whole retrieval of ``source``.

    Args:
        source: The source to bound.
        timeout_s: Seconds from the start of the stream.
        on_timeout: ``"fail"`` raises ``ContextTimeoutError``; ``"finish"`` ends the stream, so that
            the answer is given from the documents that came in time.
    """
    return _TimeLimited(source, timeout_s, finish=on_timeout == "finish")


class _TimeLimited:
    def __init__(self, source: ContextSource, timeout_s: float, *, finish: bool) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._finish = finish

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        async with aclosing(events_of(self._source, query)) as events:
            while True:
                # Around one step only: a limit that spans a yield would cancel the consumer.
                limit = asyncio.timeout_at(deadline)
                try:
                    async with limit:
                        event = await anext(events, None)
                except TimeoutError as error:
                    if not limit.expired():
                        raise
                    if self._finish:
                        return
                    msg = f"{self!r}: not finished in time; raise the limit or finish early"
                    raise ContextTimeoutError(msg) from error
                if event is None:
                    return
                yield event

    def __repr__(self) -> str:
        return f"time_limit({self._source!r}, {self._timeout_s})"
