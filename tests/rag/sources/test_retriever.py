import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from stream2llm_rag import Append, ContextSourceError, ContextTimeoutError, Document, Update
from stream2llm_rag.sources import ContextSource, from_retriever
from tests.rag.builders import append, documents, update


async def collect(source: ContextSource, query: str = "q") -> list[Append | Update]:
    return [event async for event in source.stream(query)]


def sync_list(query: str) -> list[Document]:
    return list(documents(query, "b"))


def sync_generator(query: str) -> Iterator[Any]:
    yield from documents(query)
    yield list(documents("b"))
    yield update("b")


async def async_list(query: str) -> list[Document]:
    return sync_list(query)


async def async_generator(query: str) -> AsyncIterator[Any]:
    for item in sync_generator(query):
        yield item


async def async_returning_iterator(query: str) -> Iterator[Any]:
    return sync_generator(query)


class AsyncCallable:
    async def __call__(self, query: str) -> list[Document]:
        return sync_list(query)


class WithSyncStream:
    def stream(self, query: str) -> Iterator[Any]:
        return sync_generator(query)


class WithAsyncStream:
    async def stream(self, query: str) -> AsyncIterator[Any]:
        for item in sync_generator(query):
            yield item


def hidden(function: Callable[[str], Any]) -> Callable[[str], Any]:
    """An async function that does not look like one."""
    return lambda query: function(query)  # noqa: PLW0108


WHOLE = [append("q", "b")]
STEPS = [append("q"), append("b"), update("b")]


@pytest.mark.parametrize(
    ("retriever", "expected"),
    [
        (sync_list, WHOLE),
        (async_list, WHOLE),
        (AsyncCallable(), WHOLE),
        (hidden(async_list), WHOLE),
        (functools.partial(async_list), WHOLE),
        (sync_generator, STEPS),
        (async_generator, STEPS),
        (async_returning_iterator, STEPS),
        (hidden(async_generator), STEPS),
        (WithSyncStream(), STEPS),
        (WithAsyncStream(), STEPS),
        (from_retriever(async_generator), STEPS),
        (list(sync_generator("q")), STEPS),
        (lambda query: documents(query)[0], STEPS[:1]),
        (lambda query: [], [append()]),
    ],
)
async def test_any_shape_of_retriever(retriever: Any, expected: list[Append | Update]) -> None:
    assert await collect(from_retriever(retriever)) == expected


async def test_one_shot_iterators() -> None:
    assert await collect(from_retriever(sync_generator("q"))) == STEPS
    assert await collect(from_retriever(async_generator("q"))) == STEPS


async def test_strings_become_documents() -> None:
    (event,) = await collect(from_retriever(lambda query: [query, "other"]))
    assert event == Append(documents=(Document.from_text("q"), Document.from_text("other")))


def test_what_is_not_a_retriever_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="not a retriever"):
        from_retriever(7)
    with pytest.raises(TypeError, match="not a retriever"):
        from_retriever("a query")


@pytest.mark.parametrize("result", [None, 7, [b"bytes"], {"text": "x"}])
async def test_what_is_not_a_document_is_a_typed_error(result: Any) -> None:
    with pytest.raises(ContextSourceError, match="expected a Document"):
        await collect(from_retriever(lambda query: result))


def failing_sync(query: str) -> Iterator[str]:
    yield "one"
    raise ConnectionError("index is down")


async def failing_async(query: str) -> AsyncIterator[str]:
    yield "one"
    raise ConnectionError("index is down")


@pytest.mark.parametrize("retriever", [failing_sync, failing_async])
async def test_an_error_is_typed_and_keeps_its_cause(retriever: Any) -> None:
    events = from_retriever(retriever).stream("q")
    assert await anext(events) == Append(documents=(Document.from_text("one"),))
    with pytest.raises(ContextSourceError, match="failing_") as caught:
        await anext(events)
    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_a_sync_retriever_does_not_block_the_loop() -> None:
    release = threading.Event()

    def blocking(query: str) -> list[str]:
        assert release.wait(timeout=30)
        return [query]

    task = asyncio.create_task(collect(from_retriever(blocking)))
    for _ in range(5):
        await asyncio.sleep(0.001)
    assert not task.done()
    release.set()
    assert len(await task) == 1


async def test_many_blocked_sync_retrievers_do_not_starve_another() -> None:
    release = threading.Event()

    def blocking(query: str) -> list[str]:
        release.wait(timeout=30)
        return [query]

    blocked = [asyncio.create_task(collect(from_retriever(blocking))) for _ in range(40)]
    await asyncio.sleep(0)
    try:
        assert await collect(from_retriever(sync_list)) == WHOLE
    finally:
        release.set()
        await asyncio.gather(*blocked)


async def test_stopping_early_stops_a_sync_producer() -> None:
    produced: list[int] = []
    closed = threading.Event()

    def endless(query: str) -> Iterator[str]:
        try:
            while True:
                produced.append(len(produced))
                yield f"{query} {len(produced)}"
        finally:
            closed.set()

    async with aclosing(from_retriever(endless).stream("q")) as events:  # type: ignore[type-var]
        await anext(events)
    assert await asyncio.to_thread(closed.wait, 30)
    assert len(produced) < 50


async def test_cancelling_the_consumer_stops_an_async_producer() -> None:
    closed = asyncio.Event()

    async def hanging(query: str) -> AsyncIterator[str]:
        try:
            yield query
            await asyncio.Event().wait()
        finally:
            closed.set()

    task = asyncio.create_task(collect(from_retriever(hanging)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


def hung(release: threading.Event, query: str) -> Iterator[str]:
    yield query
    release.wait(timeout=30)


async def test_a_hung_sync_retriever_fails_within_the_bound() -> None:
    release = threading.Event()
    source = from_retriever(functools.partial(hung, release), timeout_s=0.1)
    try:
        with pytest.raises(ContextTimeoutError, match=r"0\.1\).*not finished"):
            await asyncio.wait_for(collect(source), timeout=20)
    finally:
        release.set()


async def test_a_hung_retriever_can_finish_with_what_arrived() -> None:
    release = threading.Event()
    source = from_retriever(functools.partial(hung, release), timeout_s=0.1, on_timeout="finish")
    try:
        events = await asyncio.wait_for(collect(source), timeout=20)
        assert events == [Append(documents=(Document.from_text("q"),))]
    finally:
        release.set()


async def test_a_timeout_of_the_retriever_itself_is_not_ours() -> None:
    async def times_out(query: str) -> list[str]:
        raise TimeoutError(query)

    with pytest.raises(ContextSourceError, match="times_out") as caught:
        await collect(from_retriever(times_out, timeout_s=30, on_timeout="finish"))
    assert not isinstance(caught.value, ContextTimeoutError)
