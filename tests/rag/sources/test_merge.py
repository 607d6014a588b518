import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from stream2llm_rag import Append, ContextSourceError, Document, Update
from stream2llm_rag.events import ranked_after
from stream2llm_rag.sources import ContextSource, from_retriever, merge
from tests.rag.builders import append, documents, update


class Scripted:
    """A source whose events are released by the test."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Append | Update | Exception | None] = asyncio.Queue()
        self.closed = False

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        try:
            while (event := await self.events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed = True


async def collect(source: ContextSource) -> list[Append | Update]:
    return [event async for event in source.stream("q")]


def final(events: list[Append | Update]) -> tuple[Document, ...]:
    current: tuple[Document, ...] = ()
    for event in events:
        current = ranked_after(current, event)
    return current


async def test_events_come_in_arrival_order() -> None:
    first, second = Scripted(), Scripted()
    events = merge(first, second).stream("q")
    for source, name in [(second, "a"), (first, "b"), (second, "c")]:
        source.events.put_nowait(append(name))
        assert await anext(events) == append(name)
    first.events.put_nowait(None)
    second.events.put_nowait(None)
    assert await anext(events, None) is None


async def test_an_update_retracts_only_the_documents_of_its_source() -> None:
    first, second = Scripted(), Scripted()
    events = merge(first, second).stream("q")
    first.events.put_nowait(append("a", "shared"))
    seen = [await anext(events)]
    second.events.put_nowait(append("x", "shared"))
    seen.append(await anext(events))
    first.events.put_nowait(update("b", "a"))
    seen.append(await anext(events))
    assert final(seen) == documents("b", "a", "x", "shared")
    await events.aclose()  # type: ignore[attr-defined]


async def test_one_failure_stops_all() -> None:
    broken, other = Scripted(), Scripted()
    broken.events.put_nowait(ValueError("broke"))
    with pytest.raises(ContextSourceError, match="broke"):
        await collect(merge(other, broken))
    assert other.closed


async def test_a_failure_can_be_skipped(caplog: pytest.LogCaptureFixture) -> None:
    broken, other = Scripted(), Scripted()
    for event in (append("kept"), ValueError("broke")):
        broken.events.put_nowait(event)
    for late in (append("a"), None):
        other.events.put_nowait(late)
    with caplog.at_level(logging.WARNING):
        events = await collect(merge(broken, other, on_error="skip"))
    assert {document.id for document in final(events)} == {"kept", "a"}
    assert "broke" in caplog.text


async def test_skipping_every_source_is_a_failure() -> None:
    broken = [from_retriever(lambda query: 1 / 0) for _ in range(2)]
    with pytest.raises(ContextSourceError, match="ZeroDivisionError"):
        await collect(merge(*broken, on_error="skip"))


async def test_stopping_early_leaves_no_task() -> None:
    sources = [Scripted(), Scripted()]
    before = asyncio.all_tasks()
    events = merge(*sources).stream("q")
    sources[0].events.put_nowait(append("a"))
    await anext(events)
    await events.aclose()  # type: ignore[attr-defined]
    assert asyncio.all_tasks() == before
    assert all(source.closed for source in sources)


async def test_a_source_that_is_cancelled_inside_does_not_hang_the_merge() -> None:
    async def cancelled(query: str) -> list[str]:
        raise asyncio.CancelledError

    with pytest.raises(ContextSourceError, match="cancelled"):
        await asyncio.wait_for(collect(merge(from_retriever(cancelled))), timeout=20)


def test_nothing_to_merge_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merge()
