import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from stream2llm_rag import Append, ContextSourceError, ContextTimeoutError, Update
from stream2llm_rag.sources import from_retriever, time_limit
from tests.rag.builders import append
from tests.rag.sources.scripted import Scripted, collect, turns


async def test_a_source_within_its_limit_is_unchanged() -> None:
    events = [append("a"), append("b")]
    assert await collect(time_limit(from_retriever(events), 60)) == events


async def test_finishing_early_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    source = Scripted()
    source.events.put_nowait(append("a"))
    with caplog.at_level(logging.WARNING):
        limited = time_limit(source, 0.05, on_timeout="finish")
        assert await collect(limited) == [append("a")]
    assert "what came in time" in caplog.text
    await turns(5)
    assert source.closed


async def test_what_came_in_time_counts_though_the_consumer_was_busy() -> None:
    source = Scripted()
    events = time_limit(source, 0.05, on_timeout="finish").stream("q")
    source.events.put_nowait(append("a"))
    assert await anext(events) == append("a")
    for name in "bc":
        source.events.put_nowait(append(name))
    await asyncio.sleep(0.1)
    assert [event async for event in events] == [append("b", "c")]


async def test_a_source_that_ended_in_time_has_not_failed() -> None:
    events = time_limit(from_retriever([append("a"), append("b")]), 0.05).stream("q")
    assert await anext(events) == append("a")
    await asyncio.sleep(0.1)
    assert [event async for event in events] == [append("b")]


class Stubborn:
    """Takes for ever to stop."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        try:
            yield append("a")
            await asyncio.Event().wait()
        finally:
            await self.release.wait()
            self.closed.set()


async def test_a_source_that_does_not_stop_does_not_break_the_limit() -> None:
    source = Stubborn()
    events = await asyncio.wait_for(
        collect(time_limit(source, 0.05, on_timeout="finish")), timeout=20
    )
    assert events == [append("a")]
    assert not source.closed.is_set()
    source.release.set()
    await asyncio.wait_for(source.closed.wait(), timeout=20)


async def test_failing_is_typed_and_says_which_source() -> None:
    with pytest.raises(ContextTimeoutError, match=r"Scripted.*raise the limit"):
        await collect(time_limit(Scripted(), 0.01))


async def test_an_error_of_the_source_passes() -> None:
    source = Scripted()
    source.events.put_nowait(ValueError("broke"))
    with pytest.raises(ContextSourceError, match="broke"):
        await collect(time_limit(source, 60, on_timeout="finish"))
