import asyncio
import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stream2llm_rag import Append, ContextClosedError, ContextTimeoutError, LiveContext, Update
from tests.rag.builders import append, documents, update

EVENTS: list[Append | Update] = [append("a"), append("b", "c"), update("c", "a")]


async def collect(live: LiveContext) -> list[Append | Update]:
    return [event async for event in live]


async def test_every_consumer_sees_all_events_whenever_it_starts() -> None:
    live = LiveContext()
    early = asyncio.create_task(collect(live))
    await asyncio.sleep(0)
    live.put(EVENTS[0])
    middle = asyncio.create_task(collect(live))
    await asyncio.sleep(0)
    for event in EVENTS[1:]:
        live.put(event)
    live.close()
    assert await early == await middle == await collect(live) == EVENTS
    assert list(live.iter_events()) == EVENTS
    assert await live.wait() == live.wait_sync() == live.documents == documents("c", "a")


async def test_events_reach_a_consumer_one_by_one() -> None:
    live = LiveContext()
    events = aiter(live)
    for event in EVENTS:
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not waiting.done()
        live.put(event)
        assert await waiting == event


def test_threads_and_event_loops_share_one_context() -> None:
    live = LiveContext()
    many: list[Append | Update] = [append(str(number)) for number in range(200)]
    with ThreadPoolExecutor() as pool:
        consumers = [pool.submit(asyncio.run, collect(live)) for _ in range(3)]
        consumers += [pool.submit(lambda: list(live.iter_events())) for _ in range(3)]
        for event in many:
            live.put(event)
        live.close()
        assert all(consumer.result(timeout=30) == many for consumer in consumers)


async def test_error_reaches_every_consumer_after_the_events() -> None:
    live = LiveContext()
    live.put(EVENTS[0])
    waiting = asyncio.create_task(live.wait())
    await asyncio.sleep(0)
    live.close(ValueError("retriever broke"))
    events = aiter(live)
    assert await anext(events) == EVENTS[0]
    with pytest.raises(ValueError, match="retriever broke"):
        await anext(events)
    with pytest.raises(ValueError, match="retriever broke"):
        list(live.iter_events())
    with pytest.raises(ValueError, match="retriever broke"):
        await waiting
    with pytest.raises(ValueError, match="retriever broke"):
        live.wait_sync()


def test_put_after_close_is_an_error_and_the_first_close_counts() -> None:
    live = LiveContext()
    live.close()
    live.close(ValueError("too late"))
    assert live.closed
    assert live.error is None
    with pytest.raises(ContextClosedError, match="close"):
        live.put(EVENTS[0])


def test_wait_sync_is_bounded() -> None:
    with pytest.raises(ContextTimeoutError, match=r"0\.01 s"):
        LiveContext().wait_sync(timeout=0.01)


async def test_a_cancelled_consumer_leaves_nothing_behind() -> None:
    live = LiveContext()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(live.wait(), timeout=0.001)
    assert not live._waiters
    live.put(EVENTS[0])
    live.close()
    assert await live.wait() == documents("a")


def test_a_closed_loop_does_not_disturb_the_producer() -> None:
    live = LiveContext()
    loop = asyncio.new_event_loop()
    task = loop.create_task(live.wait())
    loop.run_until_complete(asyncio.sleep(0))
    waiters = set(live._waiters)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    live._waiters |= waiters
    live.put(EVENTS[0])
    assert live.documents == documents("a")


def test_copies_are_the_same_context() -> None:
    live = LiveContext()
    assert copy.copy(live) is live
    assert copy.deepcopy({"context": [live]})["context"][0] is live


def test_repr_is_cheap_and_tells_the_state() -> None:
    live = LiveContext()
    live.put(append("a", "b"))
    assert repr(live) == f"LiveContext({live.id[:8]}, open, events=1, documents=2)"
    live.close()
    assert "final" in repr(live)
    assert LiveContext().id != live.id


def test_a_sync_consumer_can_start_before_the_producer() -> None:
    live = LiveContext()
    started = threading.Event()

    def consume() -> list[Append | Update]:
        started.set()
        return list(live.iter_events())

    with ThreadPoolExecutor() as pool:
        consumer = pool.submit(consume)
        started.wait(timeout=30)
        live.put(EVENTS[0])
        live.close()
        assert consumer.result(timeout=30) == EVENTS[:1]
