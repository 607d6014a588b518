"""Intervals against distributions whose percentiles are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream2llm_bench.analysis.series import Series, rows
from stream2llm_bench.analysis.statistics import percentile_estimates, percentile_ratios, repeated

SEEDS = range(3)


def draw(rng: np.random.Generator, queries: int = 80, scale: float = 1.0) -> list[float]:
    return list(scale * rng.lognormal(0.0, 0.8, queries))


def test_the_value_is_the_median_of_the_repetitions() -> None:
    repetitions = [rows([float(low + i) for i in range(101)]) for low in (30, 0, 10)]
    found = percentile_estimates(repetitions)
    assert found["p50"].parts == (80.0, 50.0, 60.0)
    assert found["p50"].value == 60.0
    assert found["p95"].value == pytest.approx(105.0)
    assert found["p99"].value == pytest.approx(109.0)


def test_intervals_of_a_median_hold_it_in_19_of_20_cases() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(300):
        interval = percentile_estimates([rows(draw(rng))], ["p50"])["p50"].interval
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert 0.92 <= held / 300 <= 0.98


def test_intervals_of_a_ratio_hold_it_in_19_of_20_cases_at_least() -> None:
    # Over several seeds the bootstrap also sees how they differ, and is on the safe side.
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(150):
        over = [rows(draw(rng, scale=3.0)) for _ in SEEDS]
        under = [rows(draw(rng)) for _ in SEEDS]
        interval = percentile_ratios(over, under, ["p50"], paired=[False] * 3)["p50"].interval
        assert interval is not None
        held += interval[0] <= 3.0 <= interval[1]
        assert interval[1] < 2.5 * interval[0]
    assert held / 150 >= 0.95


def test_more_samples_make_an_interval_narrower() -> None:
    rng = np.random.default_rng(7)
    widths = []
    for queries in (50, 5000):
        interval = percentile_estimates([rows(draw(rng, queries))], ["p50"])["p50"].interval
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert widths[1] < widths[0] / 5


def test_drawing_the_same_queries_for_both_narrows_a_ratio() -> None:
    rng = np.random.default_rng(8)
    traces = [np.asarray(draw(rng)) for _ in SEEDS]
    over = [rows(list(2.0 * t * rng.uniform(0.95, 1.05, len(t)))) for t in traces]
    under = [rows(list(trace)) for trace in traces]
    widths = {}
    for paired in (True, False):
        found = percentile_ratios(over, under, ["p50"], paired=[paired] * 3)["p50"]
        assert found.value == pytest.approx(2.0, rel=0.1)
        assert found.interval is not None
        widths[paired] = found.interval[1] - found.interval[0]
    assert widths[True] < widths[False] / 3


def test_gaps_of_an_answer_are_drawn_together() -> None:
    # All gaps of an answer are alike: there are as many independent samples as answers.
    gaps = [level for level in draw(np.random.default_rng(9), 30) for _ in range(20)]
    widths = {}
    for answers in (30, None):
        interval = percentile_estimates([rows(gaps, answers)], ["p50"])["p50"].interval
        assert interval is not None
        widths[answers] = interval[1] - interval[0]
    assert widths[30] > 2 * widths[None]


def test_answers_of_unequal_length_have_a_row_a_gap() -> None:
    assert rows([1.0, 2.0, 3.0, 4.0], 2).shape == (2, 2)
    assert rows([1.0, 2.0, 3.0], 2).shape == (3, 1)


def test_samples_of_any_number_are_drawn_in_bounded_memory() -> None:
    samples = draw(np.random.default_rng(10), 20_000)
    found = percentile_estimates([rows(samples)], ["p50"])["p50"]
    assert found.interval is not None
    # The asymptotic interval of a median: 1.96 / (2 f sqrt(n)), with f the density at 1.
    margin = 1.96 * 0.8 * math.sqrt(2 * math.pi) / (2 * math.sqrt(20_000))
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * margin, rel=0.2)


def test_a_few_samples_have_no_interval() -> None:
    assert percentile_estimates([rows([1.0, 2.0, 3.0, 4.0])])["p50"].interval is None
    assert percentile_estimates([rows([1.0, 2.0, 3.0, 4.0, 5.0])])["p50"].interval is not None


def test_nothing_has_no_estimate() -> None:
    assert percentile_estimates([]) == {}
    assert percentile_ratios([], [], paired=[]) == {}
    assert repeated([]) is None


def test_a_ratio_to_zero_is_no_estimate() -> None:
    nothing, something = [rows([0.0] * 10)], [rows([1.0] * 10)]
    assert percentile_ratios(something, nothing, paired=[True]) == {}
    assert percentile_ratios(nothing, nothing, paired=[True]) == {}
    assert repeated([math.inf, 1.0]) is None


def test_single_numbers_have_students_interval() -> None:
    found = repeated([1.0, 2.0, 4.0])
    assert found is not None
    assert found.value == 2.0
    # The quantile is 4.303, mean and deviation of the logarithm are both log 2.
    factor = math.exp(4.303 * math.log(2.0) / math.sqrt(3.0))
    assert found.interval == pytest.approx((2.0 / factor, 2.0 * factor))


def test_one_number_or_one_below_zero_has_no_interval() -> None:
    for values in ([2.0], [2.0, -1.0, 3.0]):
        found = repeated(values)
        assert found is not None
        assert found.interval is None


def test_another_unit() -> None:
    found = percentile_estimates([rows([float(i) for i in range(11)])], ["p50"])["p50"]
    scaled = found.times(1000.0)
    assert scaled.value == 5000.0
    assert scaled.parts == (5000.0,)
    assert found.interval is not None
    assert scaled.interval == (1000.0 * found.interval[0], 1000.0 * found.interval[1])


def test_repetitions_are_matched_by_number_and_paired_if_whole() -> None:
    rng = np.random.default_rng(11)
    trace = draw(rng)
    ours = Series(repetitions={1: rows(trace), 2: rows(trace)}, whole=frozenset({1, 2}))
    theirs = Series(repetitions={2: rows(trace), 3: rows(trace)}, whole=frozenset({2}))
    found = ours.over(theirs)["p50"]
    assert found.parts == (1.0,)
    assert found.interval == (1.0, 1.0)
    incomplete = Series(repetitions=theirs.repetitions)
    interval = ours.over(incomplete)["p50"].interval
    assert interval is not None
    assert interval[0] < 1.0 < interval[1]
