"""Retrievers made of others: sources of the core, merges, rerankers, time limits."""

import asyncio
import logging
from typing import Any

import pytest

from langchain_stream2llm import DocumentDelta, StreamingRetriever
from stream2llm_engine import InvalidRequestError
from stream2llm_rag import Append, ContextSourceError, ContextTimeoutError, Document, Update
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.sources import replay
from tests.integrations.langchain.calls import EVERY_RETRIEVAL, call
from tests.integrations.langchain.fakes import Recorder, ScriptedRetriever, docs
from tests.integrations.langchain.stand_ins import (
    AsyncBackwards,
    Backwards,
    CountingRetriever,
    GatedRetriever,
    ListRetriever,
    texts,
)

ABC = docs(a="A", b="B", c="C")


def core(*names: str) -> Any:
    return tuple(Document(id=name.lower(), text=name, score=1.0) for name in names)


@pytest.mark.parametrize(
    ("order", "expected"), [("stable", ["B", "C", "A2"]), ("rank", ["C", "A2", "B"])]
)
async def test_a_source_keeps_its_order_or_its_ranking(
    order: DocumentOrder, expected: list[str]
) -> None:
    changed = Document(id="a2", text="A2")
    source = replay(
        [
            (0, Append(documents=core("X", "B"))),
            (0, Append(documents=core("C"))),
            (0, Update(documents=(*core("C"), changed, *core("B")))),
        ]
    )
    retriever = StreamingRetriever.from_source(source, order=order)
    deltas = [delta async for delta in retriever.astream("q")]
    assert texts(deltas[1]) == ["C"]
    assert texts(sum(deltas, DocumentDelta())) == expected
    assert deltas[0][0].metadata == {"score": 1.0}


async def test_a_source_may_change_a_documents_text() -> None:
    updated = Document(id="a", text="A2")
    source = replay(
        [(0, Append(documents=core("A", "B"))), (0, Update(documents=(updated, *core("B"))))]
    )
    deltas = [delta async for delta in StreamingRetriever.from_source(source).astream("q")]
    assert texts(deltas[1]) == ["A2"]
    assert texts(sum(deltas, DocumentDelta())) == ["A2", "B"]


@pytest.mark.parametrize(("order", "expected"), [("stable", ["B", "C"]), ("rank", ["C", "B"])])
async def test_k_takes_the_best_by_rank_wherever_they_stand(
    order: DocumentOrder, expected: list[str]
) -> None:
    source = replay(
        [(0, Append(documents=core("A", "B"))), (0, Update(documents=core("C", "B", "A")))]
    )
    retriever = StreamingRetriever.from_source(source, order=order)
    assert texts(await retriever.ainvoke("q", k=2)) == expected


# -- merge ----------------------------------------------------------------------------------------


async def test_merged_retrievers_stream_in_the_order_of_arrival() -> None:
    first, second = GatedRetriever(deltas=[docs("a")]), GatedRetriever(deltas=[docs("b", "a")])
    stream = StreamingRetriever.merge(first, second).astream("q")
    second.gate.release()
    assert texts(await anext(stream)) == ["b", "a"]
    first.gate.release()
    assert await anext(stream, None) is None, "the same text was found before"


@pytest.mark.parametrize("first_to_come", [0, 1])
async def test_a_merge_by_rank_gives_one_order_whichever_comes_first(first_to_come: int) -> None:
    members = [GatedRetriever(deltas=[docs(a="A")]), GatedRetriever(deltas=[docs(b="B")])]
    stream = StreamingRetriever.merge(*members, order="rank").astream("q")
    members[first_to_come].gate.release()
    total = await anext(stream)
    members[1 - first_to_come].gate.release()
    async for delta in stream:
        total += delta
    assert texts(total) == ["A", "B"]


@EVERY_RETRIEVAL
async def test_a_merge_takes_what_wrap_takes_and_shows_every_run(how: str) -> None:
    recorder = Recorder()
    merged = StreamingRetriever.merge(ListRetriever(), CountingRetriever(k=1))
    found = await call(merged, how, "q", {"callbacks": [recorder]})
    assert sorted(texts(found)) == ["about q", "more", "q 0"]
    assert recorder.counts == {"retriever_start": 3, "retriever_end": 3}


@EVERY_RETRIEVAL
async def test_a_member_that_fails_is_a_warning_and_the_last_one_an_error(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ScriptedRetriever(deltas=[docs("a"), ConnectionError("index gone")], name="broken")
    with caplog.at_level(logging.WARNING):
        found = await call(StreamingRetriever.merge(broken, ListRetriever()), how, "q")
    assert sorted(texts(found)) == ["a", "about q", "more"], "what it had found stays"
    assert "broken" in caplog.text
    assert "index gone" in caplog.text
    with pytest.raises(ContextSourceError, match=r"broken.*index gone") as failure:
        await call(StreamingRetriever.merge(broken), how, "q")
    assert isinstance(failure.value.__cause__, ConnectionError)


async def test_a_merge_may_fail_with_its_first_member() -> None:
    broken = ScriptedRetriever(deltas=[ConnectionError("index gone")])
    waiting = GatedRetriever(deltas=[docs("a")])
    with pytest.raises(ContextSourceError, match="index gone"):
        await StreamingRetriever.merge(broken, waiting, on_error="fail").ainvoke("q")
    assert len(waiting.closed) <= 1


def test_a_merge_of_nothing_is_an_error() -> None:
    with pytest.raises(InvalidRequestError, match="at least one"):
        StreamingRetriever.merge()


async def test_cancelling_a_merge_stops_its_members_and_leaves_no_task() -> None:
    members = [GatedRetriever(deltas=[docs("a"), docs("b")]) for _ in range(2)]
    for member in members:
        member.gate.release()
    before = asyncio.all_tasks()
    task = asyncio.create_task(_until_cancelled(StreamingRetriever.merge(*members)))
    while not all(member.gate.locked() for member in members):  # noqa: ASYNC110 - what they await
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [member.closed for member in members] == [["q"], ["q"]]
    assert asyncio.all_tasks() == before


async def _until_cancelled(retriever: StreamingRetriever) -> None:
    async for _ in retriever.astream("q"):
        pass


# -- rerankers ------------------------------------------------------------------------------------


@EVERY_RETRIEVAL
@pytest.mark.parametrize(
    ("order", "expected"), [("stable", ["B", "C"]), ("rank", ["C", "B"])], ids=["stable", "rank"]
)
@pytest.mark.parametrize("keep_ids", [True, False], ids=["ids", "copies"])
async def test_a_reranker_is_an_update_at_the_end(
    how: str, order: DocumentOrder, expected: list[str], keep_ids: bool
) -> None:
    first_stage = ScriptedRetriever(deltas=[ABC[:1], ABC[1:]])
    compressor = Backwards(keep_ids=keep_ids)
    retriever = first_stage.with_reranker(compressor, order=order)
    found = await call(retriever, how, "q")
    assert texts(found) == expected
    assert [document.id for document in found] == [name.lower() for name in expected]
    assert compressor.threads == ["stream2llm-source"]


async def test_the_first_stage_streams_before_the_reranker_has_run() -> None:
    reranker = AsyncBackwards()
    retriever = ScriptedRetriever(deltas=[ABC[:1], ABC[1:]]).with_reranker(reranker)
    stream = retriever.astream("q")
    assert [texts(await anext(stream)) for _ in range(2)] == [["A"], ["B", "C"]]
    assert not reranker.threads
    reranker.gate.set()
    last = await anext(stream)
    assert not last
    assert last.retract == {"a"}


async def test_k_counts_what_the_reranker_keeps_not_what_it_gets() -> None:
    retriever = ScriptedRetriever(deltas=[ABC]).with_reranker(Backwards(keep=3))
    assert texts(await retriever.ainvoke("q", k=1)) == ["C"]


async def test_a_reranker_that_fails_is_an_error() -> None:
    class Broken(Backwards):
        def compress_documents(self, *_: Any, **__: Any) -> Any:
            raise ConnectionError("no model")

    with pytest.raises(ContextSourceError, match=r"reranker.*no model"):
        await ScriptedRetriever(deltas=[ABC]).with_reranker(Broken()).ainvoke("q")


# -- time limits ----------------------------------------------------------------------------------


@EVERY_RETRIEVAL
async def test_what_came_in_time_is_what_there_is(how: str) -> None:
    slow = ScriptedRetriever(
        deltas=[docs(a="A", b="B"), DocumentDelta(docs(b="B2"), retract=["a"]), asyncio.Event()]
    )
    assert texts(await call(slow.with_time_limit(0.2), how, "q")) == ["B2"]
    assert slow.closed == ["q"]


async def test_a_time_limit_may_be_an_error() -> None:
    slow = ScriptedRetriever(deltas=[docs("a"), asyncio.Event()])
    with pytest.raises(ContextTimeoutError, match="ScriptedRetriever"):
        await slow.with_time_limit(0.01, on_timeout="fail").ainvoke("q")


async def test_every_member_of_a_merge_has_a_limit_of_its_own() -> None:
    slow = GatedRetriever(deltas=[docs("a"), docs("b")])
    slow.gate.release()
    steady = GatedRetriever(deltas=[docs("c"), docs("d")])
    stream = StreamingRetriever.merge(slow.with_time_limit(0.01), steady).astream("q")
    assert texts(await anext(stream)) == ["a"]
    while not slow.closed:  # noqa: ASYNC110 - the retriever's own doing
        await asyncio.sleep(0.001)
    for _ in range(2):
        steady.gate.release()
    assert [texts(delta) async for delta in stream] == [["c"], ["d"]]


async def test_a_limit_spans_a_retriever_and_its_reranker() -> None:
    never = AsyncBackwards()
    retriever = ScriptedRetriever(deltas=[ABC]).with_reranker(never).with_time_limit(0.01)
    assert texts(await retriever.ainvoke("q")) == ["A", "B", "C"]
