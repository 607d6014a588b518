"""The published statistics are those of Stream2LLM's crawler trace (arXiv 2604.16395)."""

import time
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from stream2llm_engine.simulator import SimulatedQuery
from stream2llm_rag.workloads import CrawlerWorkload
from tests.rag.workloads.measures import (
    durations_s,
    gaps_s,
    near,
    percentiles,
    prompt_tokens,
    prompts,
)


@pytest.fixture(scope="module")
def published() -> list[SimulatedQuery]:
    return CrawlerWorkload(qps=4.0).generate(seed=0)


def test_chunks(published: list[SimulatedQuery]) -> None:
    chunks = [len(query.events) for query in published]
    assert len(chunks) == 4309
    assert np.mean(chunks) == pytest.approx(7.86, abs=0.1)
    assert np.median(chunks) == 8
    assert 1 <= min(chunks) <= max(chunks) <= 17


def test_gaps(published: list[SimulatedQuery]) -> None:
    gaps = gaps_s(published)
    assert np.mean(gaps) == pytest.approx(1.053, rel=0.05)
    assert percentiles(gaps, 25, 50, 75, 95) == near(0.3871, 0.7007, 1.3395, 3.078, tolerance=0.06)
    assert max(gaps) <= 35


def test_durations(published: list[SimulatedQuery]) -> None:
    durations = durations_s(published)
    assert np.mean(durations) == pytest.approx(9.87, rel=0.03)
    assert percentiles(durations, 50, 95) == near(9.29, 16.69, tolerance=0.04)


def test_prompt_tokens(published: list[SimulatedQuery]) -> None:
    tokens = prompt_tokens(published)
    assert np.mean(tokens) == pytest.approx(8889, rel=0.06)
    assert percentiles(tokens, 50, 75, 95) == near(5749, 11167, 28372, tolerance=0.05)
    assert max(tokens) <= 120_000


def test_arrivals(published: list[SimulatedQuery]) -> None:
    arrivals = [query.arrival_s for query in published]
    assert arrivals == sorted(arrivals)
    assert len(published) / arrivals[-1] == pytest.approx(4.0, rel=0.05)


def test_the_template_comes_first_and_every_page_is_appended(
    published: list[SimulatedQuery],
) -> None:
    assert {tuple(query.events[0].token_ids) for query in published} == {tuple(range(60))}
    assert {tuple(query.question) for query in published} == {tuple(published[0].question)}
    assert len(published[0].question) == 30
    for query in published:
        assert not any(event.replace for event in query.events)
        assert all(event.token_ids for event in query.events)


def test_no_two_pages_share_a_token() -> None:
    queries = CrawlerWorkload(queries=50).generate(seed=1)
    pages = [event.token_ids for query in queries for event in query.events[1:]]
    seen = Counter(token for page in pages for token in page)
    assert set(seen.values()) == {1}
    assert not seen.keys() & {*queries[0].events[0].token_ids, *queries[0].question}


def test_big_workloads_are_generated_quickly() -> None:
    started = time.process_time()
    CrawlerWorkload().generate(seed=2)
    assert time.process_time() - started < 15


def test_the_seed_decides_everything() -> None:
    workload = CrawlerWorkload(queries=20, tenants=3)
    assert workload.generate(seed=3) == workload.generate(seed=3)
    assert workload.generate(seed=3) != workload.generate(seed=4)


def test_contexts_do_not_depend_on_rate_and_number() -> None:
    small = CrawlerWorkload(queries=10, qps=1.0).generate(seed=5)
    large = CrawlerWorkload(queries=20, qps=4.0, arrival_cv=2.0).generate(seed=5)
    assert [query.events for query in small] == [query.events for query in large[:10]]


def test_the_delay_multiplier_scales_every_delay() -> None:
    once = CrawlerWorkload(queries=10).generate(seed=6)
    tenfold = CrawlerWorkload(queries=10, delay_multiplier=10).generate(seed=6)
    for plain, slow in zip(once, tenfold, strict=True):
        assert prompts(plain) == prompts(slow)
        assert [event.delay_s for event in slow.events] == pytest.approx(
            [10 * event.delay_s for event in plain.events]
        )


def test_tenants_share_the_queries_evenly() -> None:
    workload = CrawlerWorkload(queries=3000, tenants=3, prompt_tokens_median=200)
    shares = Counter(query.tenant for query in workload.generate())
    assert shares.keys() == {"tenant-0", "tenant-1", "tenant-2"}
    assert list(shares.values()) == pytest.approx([1000] * 3, rel=0.1)


def test_concentration_evens_the_pages_out() -> None:
    def spread(concentration: float) -> float:
        workload = CrawlerWorkload(queries=100, concentration=concentration, min_chunks=4)
        sizes = [
            [len(event.token_ids) for event in query.events[1:]] for query in workload.generate()
        ]
        return float(np.mean([np.std(pages) / np.mean(pages) for pages in sizes]))

    assert spread(100) < 0.2 < spread(1.0) < spread(0.1)


def test_chunks_can_be_fixed() -> None:
    workload = CrawlerWorkload(queries=5, mean_chunks=4, min_chunks=4, max_chunks=4)
    assert [len(query.events) for query in workload.generate()] == [4] * 5


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"mean_chunks": 20}, "between min_chunks and max_chunks"),
        ({"prompt_tokens_cap": 90}, "must leave room"),
        ({"qps": 0}, "greater than 0"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_bad_knobs(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CrawlerWorkload.model_validate(knobs)
