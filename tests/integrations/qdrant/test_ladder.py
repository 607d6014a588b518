"""The order of things, with searches that the test scripts; real ones are in the other files."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdrant_stream2llm import Early, Hybrid, Rerank, Stage
from qdrant_stream2llm._ladder import Ladder
from qdrant_stream2llm._stages import AnyStage
from stream2llm_rag import Append, ContextSourceError, Document, Update
from tests.rag.builders import append, documents, update

FIRST, SECOND, THIRD = (Stage(limit=limit) for limit in (1, 2, 3))
SPARSE = Stage(using="sparse", limit=9)


class Searches:
    """Finds what the test says, after the time it says or when it says so."""

    def __init__(self, found: dict[int, str], took: dict[int, float] | None = None) -> None:
        self.found = found
        self.took = took or {}
        self.now = 0.0
        self.ran: list[int] = []
        self.embedded = 0
        self.vectors: list[Any] = []
        self.held: dict[int, asyncio.Event] = {}

    async def search(self, stage: Stage, vector: Any) -> tuple[Document, ...]:
        self.ran.append(stage.limit)
        self.vectors.append(vector)
        self.now += self.took.get(stage.limit, 0.0)
        if stage.limit in self.held:
            await self.held[stage.limit].wait()
        return documents(*self.found[stage.limit])

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.embedded += 1
        return [[1.0] for _ in texts]

    def ladder(self, *stages: AnyStage, early: Early = "all", document_s: float = 0) -> Ladder:
        return Ladder(
            "ladder",
            stages,
            self.embed,
            self.search,
            early=early,
            document_prefill_s=document_s,
            clock=lambda: self.now,
        )


async def collect(ladder: Ladder) -> list[Append | Update]:
    return [event async for event in ladder.stream("q")]


async def test_stages_run_in_order_and_the_query_is_embedded_once() -> None:
    searches = Searches({1: "ab", 2: "ab", 3: "abc"})
    assert await collect(searches.ladder(FIRST, SECOND, THIRD)) == [append("a", "b"), append("c")]
    assert searches.ran == [1, 2, 3]
    assert searches.embedded == 1


async def test_the_settled_start_comes_while_the_reranker_runs() -> None:
    searches = Searches({1: "abcd", 2: "abdc"})
    release = asyncio.Event()

    async def drop_b(query: str, ranked: tuple[Document, ...]) -> list[Document]:
        await release.wait()
        return [document for document in ranked if document.id != "b"]

    ladder = searches.ladder(FIRST, SECOND, Rerank(reranker=drop_b, limit=2), early="settled")
    events = ladder.stream("q")
    assert await anext(events) == append("a", "b")
    release.set()
    assert [event async for event in events] == [update("a", "d")]


async def test_a_sync_reranker_and_one_that_repeats_documents() -> None:
    searches = Searches({1: "ab"})
    rerank = Rerank(reranker=lambda query, ranked: [ranked[1], *ranked])
    assert await collect(searches.ladder(FIRST, rerank)) == [append("a", "b"), update("b", "a")]


async def test_nothing_found_is_not_reranked() -> None:
    searches = Searches({1: ""})
    rerank = Rerank(reranker=lambda query, ranked: [ranked[0]])
    assert await collect(searches.ladder(FIRST, rerank)) == []


async def test_a_failing_reranker_is_typed() -> None:
    rerank = Rerank(reranker=lambda query, ranked: 1 / 0)
    with pytest.raises(ContextSourceError, match="reranker failed"):
        await collect(Searches({1: "a"}).ladder(FIRST, rerank))


async def test_stages_that_do_not_pay_are_skipped_with_a_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    searches = Searches({1: "a", 2: "a", 3: "b"}, {1: 0.001, 2: 0.001, 3: 0.004})
    ladder = searches.ladder(FIRST, SECOND, THIRD, document_s=0.01)
    with caplog.at_level(logging.INFO):
        assert await collect(ladder) == [append("a"), update("b")]
        assert await collect(ladder) == [append("b")]
        assert searches.ran == [1, 2, 3, 3]
        assert "stage 1 of 3 is skipped: the final ranking is there 4.0 ms later" in caplog.text
        assert "10.0 ms that prefilling one document takes" in caplog.text
        assert len(caplog.records) == 2
        searches.took[3] = 0.3
        for _ in range(5):
            await collect(ladder)
        assert "stage 1 of 3 runs again" in caplog.text
    assert searches.ran[-3:] == [1, 2, 3]


async def test_embedding_is_not_taken_for_a_slow_stage() -> None:
    searches = Searches({1: "a", 2: "a"})
    ladder = searches.ladder(FIRST, SECOND, document_s=0.01)

    def slow_embed(texts: Sequence[str]) -> list[list[float]]:
        searches.now += 5
        return [[1.0] for _ in texts]

    ladder._embed = slow_embed
    for _ in range(3):
        await collect(ladder)
    assert searches.ran == [1, 2, 2, 2]


HYBRID = Hybrid(searches=(FIRST, SPARSE), limit=3)


async def test_what_each_search_finds_counts_as_it_arrives() -> None:
    searches = Searches({1: "abc", 9: "cbd"})
    searches.held = {1: asyncio.Event(), 9: asyncio.Event()}
    events = searches.ladder(HYBRID).stream("q")
    searches.held[9].set()
    assert [document.id for document in (await anext(events)).documents] == ["c", "b", "d"]
    searches.held[1].set()
    (last,) = [event async for event in events]
    assert isinstance(last, Update)
    # Both have b second, and c is first and third: 2/3 against 1/2 + 1/4.
    assert [document.id for document in last.documents] == ["c", "b", "a"]


@settings(deadline=None)
@given(
    st.lists(st.text("abcdef", max_size=5), min_size=2, max_size=4),
    st.randoms(use_true_random=False),
)
def test_the_fusion_does_not_depend_on_which_search_is_faster(found: list[str], rng: Any) -> None:
    limits = list(range(1, len(found) + 1))
    hybrid = Hybrid(searches=tuple(Stage(limit=limit) for limit in limits), limit=4)

    async def run(order: list[int]) -> Append | Update | None:
        searches = Searches(dict(zip(limits, found, strict=True)))
        searches.held = {limit: asyncio.Event() for limit in limits}
        running = asyncio.create_task(collect(searches.ladder(hybrid, early="settled")))
        for limit in order:
            searches.held[limit].set()
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
        events = await running
        context: tuple[Document, ...] = ()
        for event in events:
            context = (*context, *event.documents) if event.kind == "append" else event.documents
        return Append(documents=context)

    orders = [limits, rng.sample(limits, len(limits))]
    assert asyncio.run(run(orders[0])) == asyncio.run(run(orders[1]))


async def test_weights_count() -> None:
    searches = Searches({1: "ab", 9: "ba"})
    weighted = HYBRID.model_copy(update={"weights": (0.5, 3.0)})
    events = await collect(searches.ladder(weighted, early="settled"))
    assert [document.id for document in events[-1].documents] == ["b", "a"]


async def test_an_embedding_of_its_own() -> None:
    searches = Searches({1: "a", 9: "b"})
    own = SPARSE.model_copy(update={"embed": lambda texts: ["sparse" for _ in texts]})
    await collect(searches.ladder(Hybrid(searches=(FIRST, own))))
    assert sorted(map(str, searches.vectors)) == ["[1.0]", "sparse"]
    assert searches.embedded == 1


async def test_one_failing_search_of_several_fails_the_stage_and_stops_the_others() -> None:
    searches = Searches({1: "a"})
    searches.held = {1: asyncio.Event()}
    before = asyncio.all_tasks()
    with pytest.raises(KeyError):
        await collect(searches.ladder(HYBRID))
    assert asyncio.all_tasks() == before


async def test_stopping_early_leaves_no_task() -> None:
    searches = Searches({1: "a", 9: "b"})
    searches.held = {1: asyncio.Event()}
    before = asyncio.all_tasks()
    events = searches.ladder(HYBRID).stream("q")
    await anext(events)
    await events.aclose()
    assert asyncio.all_tasks() == before


def test_stages_in_an_order_that_makes_sense() -> None:
    rerank = Rerank(reranker=lambda query, ranked: ranked)
    for stages in ([], [rerank], [FIRST, rerank, SECOND]):
        with pytest.raises(ValueError, match=r"stage|Rerank"):
            Searches({}).ladder(*stages)


def test_stages_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Hybrid(searches=(FIRST,))
    with pytest.raises(ValueError, match="1 weights for 2 searches"):
        Hybrid(searches=(FIRST, SPARSE), weights=(1.0,))
    with pytest.raises(ValueError, match="greater than 0"):
        Stage(limit=0)
