"""The published statistics are those of Stream2LLM's ANNS trace (arXiv 2604.16395)."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from stream2llm_engine.simulator import SimulatedQuery
from stream2llm_rag.workloads import AnnsWorkload
from tests.rag.workloads.measures import (
    durations_s,
    gaps_s,
    invalidated_share,
    near,
    percentiles,
    prompt_tokens,
    prompts,
)


@pytest.fixture(scope="module")
def published() -> list[SimulatedQuery]:
    # Counts and times do not depend on the length of the prompts.
    return AnnsWorkload(queries=5000, prompt_tokens_median=200, long_wait="first").generate(seed=0)


def test_snapshots(published: list[SimulatedQuery]) -> None:
    snapshots = [len(query.events) for query in published]
    assert np.mean(snapshots) == pytest.approx(4.42, abs=0.12)
    assert np.median(snapshots) == 4
    assert min(snapshots) == 1
    assert 18 <= max(snapshots) <= 26


def test_gaps(published: list[SimulatedQuery]) -> None:
    gaps = gaps_s(published)
    assert np.mean(gaps) == pytest.approx(0.157, rel=0.1)
    assert percentiles(gaps, 25, 50, 75, 95) == near(
        0.01125, 0.03668, 0.1243, 0.6988, tolerance=0.08
    )
    assert max(gaps) <= 9


def test_durations(published: list[SimulatedQuery]) -> None:
    durations = durations_s(published)
    assert np.mean(durations) == pytest.approx(3.63, rel=0.04)
    assert percentiles(durations, 50, 95) == near(3.46, 5.38, tolerance=0.05)


def test_prompt_tokens() -> None:
    tokens = prompt_tokens(AnnsWorkload(queries=1500, max_snapshots=1).generate(seed=0))
    assert np.mean(tokens) == pytest.approx(13006, rel=0.06)
    assert percentiles(tokens, 50, 95) == near(10126, 30618, tolerance=0.06)
    # The log-normal that has this median and P95 has a higher P75 than the trace.
    assert percentiles(tokens, 75) == near(14615, tolerance=0.15)


def test_no_snapshot_exceeds_the_cap() -> None:
    workload = AnnsWorkload(queries=200, prompt_tokens_cap=8000, concentration=0.3)
    queries = workload.generate()
    longest = [max(map(len, prompts(query))) + len(query.question) for query in queries]
    assert max(longest) <= 8000
    assert max(prompt_tokens(queries)) > 7900


def test_both_orders_hold_the_same_documents() -> None:
    stable = AnnsWorkload(queries=100, order="stable").generate(seed=1)
    rank = AnnsWorkload(queries=100, order="rank").generate(seed=1)
    for ours, theirs in zip(stable, rank, strict=True):
        assert ours.arrival_s == theirs.arrival_s
        assert [sorted(prompt) for prompt in prompts(ours)] == [
            sorted(prompt) for prompt in prompts(theirs)
        ]


def test_stable_keeps_survivors_in_place_and_puts_newcomers_behind() -> None:
    for query in AnnsWorkload(queries=100).generate(seed=2):
        steps = prompts(query)
        for before, after in pairwise(steps):
            kept, known = set(after), set(before)
            survivors = [token for token in before if token in kept]
            assert after[: len(survivors)] == survivors
            assert known.isdisjoint(after[len(survivors) :])


def test_reranking_changes_ranks_only() -> None:
    knobs = {"queries": 50, "replacement_rate": 0.0}
    moved = AnnsWorkload.model_validate({**knobs, "order": "rank", "rerank_rate": 1.0}).generate()
    kept = AnnsWorkload.model_validate({**knobs, "order": "rank", "rerank_rate": 0.0}).generate()
    stable = AnnsWorkload.model_validate({**knobs, "rerank_rate": 1.0}).generate()
    assert invalidated_share(moved) > 0.8
    assert invalidated_share(kept) == invalidated_share(stable) == 0.0
    assert all(not event.token_ids for query in stable for event in query.events[1:])


def test_stable_order_invalidates_less() -> None:
    stable = invalidated_share(AnnsWorkload(order="stable").generate())
    rank = invalidated_share(AnnsWorkload(order="rank").generate())
    assert stable == pytest.approx(0.07, abs=0.02)
    assert rank == pytest.approx(0.44, abs=0.05)


def test_a_query_has_documents_of_its_own() -> None:
    queries = AnnsWorkload(queries=20).generate()
    seen: set[int] = set()
    for query in queries:
        own = {token for prompt in prompts(query) for token in prompt[60:]}
        assert seen.isdisjoint(own)
        seen |= own


def test_a_shared_corpus_repeats_its_popular_documents() -> None:
    workload = AnnsWorkload(queries=200, shared_corpus=1000, zipf_exponent=1.0)
    queries = workload.generate(seed=3)
    assert queries == workload.generate(seed=3)
    evenly = workload.model_copy(update={"zipf_exponent": 0.0}).generate(seed=3)
    assert _distinct_share(queries) < 0.75 * _distinct_share(evenly) < 0.75
    assert np.mean(prompt_tokens(queries)) == pytest.approx(12_800, rel=0.15)


def test_the_seed_decides_everything() -> None:
    workload = AnnsWorkload(queries=20, tenants=2)
    assert workload.generate(seed=4) == workload.generate(seed=4)
    assert workload.generate(seed=4) != workload.generate(seed=5)


def test_single_documents_and_snapshots_work() -> None:
    queries = AnnsWorkload(queries=20, documents_per_snapshot=1).generate()
    assert all(prompts(query)[-1][60:] for query in queries)
    queries = AnnsWorkload(queries=20, mean_snapshots=1.0).generate()
    assert {len(query.events) for query in queries} == {1}


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"min_snapshots": 9, "max_snapshots": 8}, "must not exceed"),
        ({"shared_corpus": 100}, "0 or at least 260"),
        ({"replacement_rate": 1.5}, "less than or equal to 1"),
        ({"order": "best"}, "'stable' or 'rank'"),
    ],
)
def test_bad_knobs(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AnnsWorkload.model_validate(knobs)


def _distinct_share(queries: list[SimulatedQuery]) -> float:
    final = [query.final_prompt() for query in queries]
    return len({token for prompt in final for token in prompt}) / sum(map(len, final))


def test_the_long_wait_moves_and_nothing_else() -> None:
    first, last = (
        AnnsWorkload(queries=50, long_wait="first").generate(seed=0),
        AnnsWorkload(queries=50, long_wait="last").generate(seed=0),
    )
    for before, after in zip(first, last, strict=True):
        assert after.final_s == pytest.approx(before.final_s)
        assert after.events[-1].delay_s == before.events[0].delay_s
        assert [e.token_ids for e in after.events] == [e.token_ids for e in before.events]
