import asyncio
import logging

import pytest

from stream2llm_rag import Append, ContextSourceError, Update
from stream2llm_rag.sources import Slot, from_retriever, merge
from tests.rag.builders import append, documents, update
from tests.rag.sources.scripted import Scripted, collect, final, turns


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
        await collect(merge(other, broken, on_error="fail"))
    assert other.closed


async def test_one_failure_among_several_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    broken, other = Scripted(), Scripted()
    for event in (append("kept"), ValueError("broke")):
        broken.events.put_nowait(event)
    for late in (append("a"), None):
        other.events.put_nowait(late)
    with caplog.at_level(logging.WARNING):
        events = await collect(merge(broken, other))
    assert {document.id for document in final(events)} == {"kept", "a"}
    assert "broke" in caplog.text


async def test_the_only_source_and_all_sources_do_raise() -> None:
    broken = [from_retriever(lambda query: 1 / 0) for _ in range(2)]
    for sources in (broken[:1], broken):
        with pytest.raises(ContextSourceError, match="ZeroDivisionError"):
            await collect(merge(*sources))


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


async def test_a_source_of_higher_priority_ranks_in_front_whenever_it_comes() -> None:
    late, early = Scripted(), Scripted()
    events = merge(early, Slot(late, priority=1)).stream("q")
    early.events.put_nowait(append("a", "shared"))
    assert await anext(events) == append("a", "shared")
    late.events.put_nowait(append("x", "shared"))
    assert await anext(events) == update("x", "shared", "a")
    early.events.put_nowait(append("b"))
    assert await anext(events) == append("b")
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_slot_holds_its_best_ranked_documents() -> None:
    limited, other = Scripted(), Scripted()
    events = merge(Slot(limited, limit=2), other).stream("q")
    steps: list[tuple[Scripted, Append | Update]] = [
        (limited, append("a", "b", "c")),
        (other, append("x")),
        (limited, update("c", "b", "a")),
    ]
    seen = []
    for source, event in steps:
        source.events.put_nowait(event)
        seen.append(await anext(events))
    assert seen == [append("a", "b"), append("x"), update("c", "b", "x")]
    limited.events.put_nowait(append("d"))
    for source in (limited, other):
        source.events.put_nowait(None)
    assert await anext(events, None) is None


async def test_what_waits_for_the_consumer_is_one_event_per_source() -> None:
    first, second = Scripted(), Scripted()
    events = merge(first, second).stream("q")
    first.events.put_nowait(append("a"))
    seen = [await anext(events)]
    first.events.put_nowait(append("b"))
    first.events.put_nowait(update("b"))
    first.events.put_nowait(append("c"))
    first.events.put_nowait(None)
    second.events.put_nowait(None)
    await turns(50)
    seen += [event async for event in events]
    assert seen == [append("a"), update("b", "c")]


def test_a_slot_holds_something() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Slot(from_retriever([]), limit=0)


def test_nothing_to_merge_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merge()
