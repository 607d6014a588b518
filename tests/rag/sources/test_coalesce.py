import asyncio
from collections.abc import AsyncIterator

import pytest

from stream2llm_rag import Append, ContextSourceError, Update
from stream2llm_rag.sources import coalesce, from_retriever
from tests.rag.builders import append, update
from tests.rag.sources.scripted import Scripted, collect, turns


async def test_a_waiting_consumer_gets_every_event() -> None:
    events = [append("a"), append("b"), update("b"), append("c")]
    assert await collect(coalesce(from_retriever(events))) == events


async def test_a_busy_consumer_gets_what_counts_by_then() -> None:
    source = Scripted()
    events = coalesce(source).stream("q")
    source.events.put_nowait(append("a"))
    assert await anext(events) == append("a")
    for event in (append("b"), append("c")):
        source.events.put_nowait(event)
    await turns(20)
    assert await anext(events) == append("b", "c")
    source.events.put_nowait(append("d"))
    source.events.put_nowait(update("c", "a"))
    source.events.put_nowait(update("a"))
    source.events.put_nowait(append("e"))
    await turns(20)
    assert await anext(events) == update("a", "e")
    source.events.put_nowait(None)
    assert await anext(events, None) is None


class Endless:
    """Appends for ever, or updates for ever, and never waits for anything."""

    def __init__(self, *, updates: bool = False) -> None:
        self.produced = 0
        self._updates = updates

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        while True:
            self.produced += 1
            name = str(self.produced)
            yield update(name) if self._updates else append(name)


async def test_a_source_that_appends_is_held_back() -> None:
    source = Endless()
    events = coalesce(source, max_pending=5).stream("q")
    await anext(events)
    await turns(100)
    produced = source.produced
    await turns(100)
    assert source.produced == produced <= 8
    assert len((await anext(events)).documents) == 5
    await turns(100)
    assert source.produced > produced
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_source_that_updates_is_not_held_back_and_nothing_piles_up() -> None:
    source = Endless(updates=True)
    events = coalesce(source, max_pending=1).stream("q")
    await anext(events)
    await turns(100)
    assert source.produced > 20
    assert len((await anext(events)).documents) == 1
    await events.aclose()  # type: ignore[attr-defined]


async def test_an_error_comes_after_the_events() -> None:
    source = Scripted()
    for event in (append("a"), append("b"), ValueError("broke")):
        source.events.put_nowait(event)
    events = coalesce(source).stream("q")
    assert await anext(events) == append("a")
    await turns(20)
    assert await anext(events) == append("b")
    with pytest.raises(ContextSourceError, match="broke"):
        await anext(events)


async def test_stopping_early_closes_the_source() -> None:
    source = Scripted()
    before = asyncio.all_tasks()
    events = coalesce(source).stream("q")
    source.events.put_nowait(append("a"))
    await anext(events)
    await events.aclose()  # type: ignore[attr-defined]
    assert source.closed
    assert asyncio.all_tasks() == before


def test_something_may_wait() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        coalesce(from_retriever([]), max_pending=0)
