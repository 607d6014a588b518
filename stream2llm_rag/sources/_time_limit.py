"""A bound on how long a source may take."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Literal

from stream2llm_rag.errors import ContextTimeoutError
from stream2llm_rag.events import Append, Update
from stream2llm_rag.sources._protocol import ContextSource
from stream2llm_rag.sources._pump import Pump

__all__ = ["time_limit"]

_logger = logging.getLogger(__name__)


def time_limit(
    source: ContextSource, timeout_s: float, *, on_timeout: Literal["fail", "finish"] = "fail"
) -> ContextSource:
    """Bounds the whole retrieval of ``source``.

    The bound holds whatever the source does: one that takes long to stop is left to it. What came
    in time counts even if its consumer was busy meanwhile.

    Args:
        source: The source to bound.
        timeout_s: Seconds from the start of the stream.
        on_timeout: ``"fail"`` raises ``ContextTimeoutError``; ``"finish"`` logs a warning and ends
            the stream, so that the answer is given from the documents that came in time.
    """
    return _TimeLimited(source, timeout_s, finish=on_timeout == "finish")


class _TimeLimited:
    def __init__(self, source: ContextSource, timeout_s: float, *, finish: bool) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._finish = finish

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        ready: asyncio.Queue[Pump] = asyncio.Queue()
        pump = Pump(self._source, query, ready)
        try:
            while loop.time() < deadline and await _arrives(ready, deadline):
                if (event := pump.take()) is None:
                    break
                yield event
            in_time = pump.ended
            if not in_time:
                pump.abandon()
            if (event := pump.take()) is not None:
                yield event
            self._check(pump, in_time=in_time)
        finally:
            await pump.stop()

    def _check(self, pump: Pump, *, in_time: bool) -> None:
        if in_time:
            if pump.error is not None:
                raise pump.error
        elif self._finish:
            _logger.warning("%r: going on with what came in time", self)
        else:
            msg = f"{self!r}: not finished in time; raise the limit or finish early"
            raise ContextTimeoutError(msg)

    def __repr__(self) -> str:
        return f"time_limit({self._source!r}, {self._timeout_s})"


async def _arrives(ready: asyncio.Queue[Pump], deadline: float) -> bool:
    try:
        async with asyncio.timeout_at(deadline):
            await ready.get()
    except TimeoutError:
        return False
    return True
