"""Targets on files whose numbers are known."""

from __future__ import annotations

import pytest

from stream2llm_bench.analysis.targets import TARGETS, Verdict, judge
from stream2llm_bench.results import ResultFile
from tests.benchmarks.builders import (
    FACTORS,
    IDLE,
    QUERIES,
    SEEDS,
    bound,
    failed_run,
    micro,
    results,
    run,
    scenario,
    traffic,
)


def verdict(file: ResultFile, *words: str) -> Verdict:
    (found,) = (one for one in judge(file) if all(word in one.name for word in words))
    return found


def test_everything_is_met_in_a_good_file() -> None:
    with_limit = [one for one in judge(results()) if one.target]
    assert len(with_limit) == 10 + 5 + 1 + 1 + 3
    assert [one.name for one in with_limit if not one.met] == []


def test_a_file_without_data_has_a_verdict_on_every_target() -> None:
    found = judge(ResultFile(command="none"))
    assert len(found) == len(TARGETS)
    assert {one.met for one in found} == {None}
    assert {one.value for one in found} == {None}
    assert {one.by_seed for one in found} == {()}


def test_times_lower_is_baseline_over_ours() -> None:
    found = verdict(results(), "crawler-high", "P99", "blocking")
    assert found.unit == "times lower"
    assert found.target == "at least 4 times lower"
    assert found.value == pytest.approx(10.0)
    assert found.by_seed == pytest.approx([10.0] * len(SEEDS))
    # The queries are the same and so are their relations.
    assert found.estimate is not None
    assert found.estimate.interval == pytest.approx((10.0, 10.0))
    assert found.bound == pytest.approx(1.0 / IDLE)


def test_times_is_ours_over_baseline() -> None:
    found = verdict(results(), "crawler-high", "P99", "warmup")
    assert found.target == "at most 0.7 times"
    assert found.value == pytest.approx(FACTORS["srpt"] / FACTORS["warmup"])
    assert found.bound == pytest.approx(IDLE / FACTORS["warmup"])


def test_slow_is_missed() -> None:
    file = results(FACTORS | {"srpt": 0.2})
    assert verdict(file, "crawler-high", "P50", "blocking").met is False
    assert verdict(file, "crawler-high", "P99", "blocking").met is True
    assert verdict(file, "crawler-low", "P50").met is False


def test_percentiles_without_a_limit_are_shown_and_not_judged() -> None:
    for point in ("P95", "P99"):
        found = verdict(results(), "crawler-low", point)
        assert found.value == pytest.approx(FACTORS["srpt"] / IDLE)
        assert (found.target, found.met) == ("", None)


def test_the_median_seed_counts() -> None:
    crawl = scenario("crawler-high")
    runs = [
        run(crawl, policy, seed, factor)
        for seed, ours in zip(SEEDS, (0.1, 0.05, 0.5), strict=True)
        for policy, factor in (("blocking", 1.0), ("srpt", ours))
    ]
    found = verdict(results(scenarios=[crawl], runs=runs), "crawler-high", "P50", "blocking")
    assert found.by_seed == pytest.approx([10.0, 20.0, 2.0])
    assert found.value == pytest.approx(10.0)


def test_only_seeds_that_both_have_are_compared() -> None:
    crawl = scenario("crawler-high")
    runs = [run(crawl, "srpt", seed, 0.1) for seed in SEEDS] + [run(crawl, "blocking", 1, 1.0)]
    found = verdict(results(scenarios=[crawl], runs=runs), "crawler-high", "P50", "blocking")
    assert len(found.by_seed) == 1


def test_the_order_that_is_asked_for_counts() -> None:
    anns = scenario("anns-high")
    runs = [run(anns, "blocking", seed, 1.0) for seed in SEEDS]
    ranked = [run(anns, "srpt", seed, 0.9, order="rank") for seed in SEEDS]
    stable = [run(anns, "srpt", seed, 0.25) for seed in SEEDS]
    file = results(scenarios=[anns], runs=[*runs, *ranked, *stable])
    assert verdict(file, "anns-high", "P50").value == pytest.approx(4.0)
    only_ranked = results(scenarios=[anns], runs=[*runs, *ranked])
    assert verdict(only_ranked, "anns-high", "P50").met is None


def test_the_default_preemption_counts() -> None:
    crawl = scenario("crawler-pressure")
    runs = [run(crawl, "blocking", 0, 1.0), run(crawl, "warmup", 0, 1.0)]
    modes = [run(crawl, "srpt", 0, 0.9, preemption="swap"), run(crawl, "srpt", 0, 0.1)]
    file = results(scenarios=[crawl], runs=[*runs, *modes])
    assert verdict(file, "crawler-pressure", "blocking", "P99").value == pytest.approx(10.0)


def test_a_baseline_in_another_order_serves() -> None:
    anns = scenario("anns-high")
    runs = [run(anns, "blocking", 0, 1.0, order=None), run(anns, "srpt", 0, 0.25)]
    file = results(scenarios=[anns], runs=runs)
    assert verdict(file, "anns-high", "P50").value == pytest.approx(4.0)


def test_failed_queries_of_ours_miss_the_target() -> None:
    crawl = scenario("crawler-high")
    runs = [run(crawl, "blocking", 0, 1.0), run(crawl, "srpt", 0, 0.01, failed=2)]
    found = verdict(results(scenarios=[crawl], runs=runs), "crawler-high", "P99", "blocking")
    assert found.met is False
    assert found.value == pytest.approx(100.0)
    assert found.note == "2 queries failed"


def test_a_system_that_answered_nobody_misses_the_target() -> None:
    crawl = scenario("crawler-high")
    runs = [run(crawl, "blocking", 0, 1.0), failed_run(crawl, "srpt", 0)]
    found = judge(results(scenarios=[crawl], runs=runs))
    for one in found:
        if one.name.startswith("crawler-high") and "blocking" in one.name:
            assert (one.value, one.met) == (None, False)
            assert one.note == f"{QUERIES} queries failed"


def test_failed_queries_of_a_baseline_are_noted() -> None:
    crawl = scenario("crawler-high")
    runs = [run(crawl, "blocking", 0, 1.0, failed=3), run(crawl, "srpt", 0, 0.1)]
    found = verdict(results(scenarios=[crawl], runs=runs), "crawler-high", "P99", "blocking")
    assert found.met is True
    assert found.note == "3 queries of blocking failed"
    # Row i of both is not the same query any more.
    assert found.estimate is not None
    assert found.estimate.interval is not None
    assert found.estimate.interval[0] < 9.0


def test_a_baseline_that_answered_nobody_leaves_no_data() -> None:
    crawl = scenario("crawler-high")
    runs = [failed_run(crawl, "blocking", 0), run(crawl, "srpt", 0, 0.1)]
    file = results(scenarios=[crawl], runs=runs)
    assert verdict(file, "crawler-high", "P99", "blocking").met is None
    assert verdict(file, "crawler-high: completion").met is None


def test_without_a_bound_the_verdict_stands() -> None:
    found = verdict(results(bounds=[]), "crawler-high", "P50", "blocking")
    assert (found.met, found.bound) == (True, None)
    assert verdict(results(bounds=[]), "crawler-low", "P50").met is None


def test_a_bound_of_every_third_query_is_not_paired() -> None:
    crawl = scenario("crawler-high")
    file = results(scenarios=[crawl], bounds=[bound(crawl, seed, 3) for seed in SEEDS])
    found = verdict(file, "crawler-high", "P50", "blocking")
    assert found.bound == pytest.approx(1.0 / IDLE, rel=0.4)


def test_completion_is_judged_in_every_scenario() -> None:
    file = results()
    slow = [
        one.model_copy(update={"completion_s": 1.05 * one.completion_s})
        if (one.policy, one.scenario) == ("srpt", "crawler-pressure")
        else one
        for one in file.runs
    ]
    found = {
        one.name: one.met
        for one in judge(file.model_copy(update={"runs": slow}))
        if "completion" in one.name
    }
    assert len(found) == len(file.scenarios)
    assert [name for name, met in found.items() if not met] == [
        "crawler-pressure: completion against blocking"
    ]


def test_gaps_between_tokens() -> None:
    crawl = scenario("crawler-decode")
    runs = [run(crawl, policy, 0, 1.0) for policy in ("blocking", "srpt")]
    gaps = [1.2 * gap for gap in runs[1].samples["inter_token_s"]]
    slow = runs[1].model_copy(update={"samples": runs[1].samples | {"inter_token_s": gaps}})
    for one, value, met in ((runs[1], 1.0, True), (slow, 1.2, False)):
        found = verdict(results(scenarios=[crawl], runs=[runs[0], one]), "between tokens", "decode")
        assert found.value == pytest.approx(value)
        assert found.met is met
        assert found.bound is None


def test_ordinary_requests() -> None:
    file = results(traffic=traffic({"stock": 100.0, "stream2llm": 96.0}))
    found = verdict(file, "tokens a second")
    assert found.value == pytest.approx(0.96)
    assert found.met is False
    assert verdict(file, "ordinary requests: between tokens").value == pytest.approx(100 / 96)
    alone = results(traffic=traffic({"stream2llm": 96.0}))
    assert verdict(alone, "tokens a second").met is None


def test_small_measurements_are_in_the_unit_of_the_target() -> None:
    found = verdict(results(), "from an event")
    assert found.value == pytest.approx(2.0)
    assert found.target == "at most 3 ms"
    found = verdict(results(), "memory of an idle session")
    assert found.value == pytest.approx(10.0)
    assert found.target == "at most 15 KiB"


def test_the_worst_of_several_entries_counts() -> None:
    entries = [micro("event_to_prefill_s", value, tokens=i) for i, value in enumerate((1e-3, 5e-3))]
    assert verdict(results(micro=entries), "from an event").met is False


@pytest.mark.parametrize("counts", [(0,), (5000,), (0, 500)])
def test_steps_need_both_numbers_of_idle_sessions(counts: tuple[int, ...]) -> None:
    entries = [micro("active_step_s", 0.01, idle_sessions=count) for count in counts]
    assert verdict(results(micro=entries), "idle sessions beside").met is None


def test_a_measurement_without_samples_is_no_data() -> None:
    empty = micro("event_to_prefill_s", 1e-3).model_copy(update={"samples": []})
    assert verdict(results(micro=[empty]), "from an event").met is None
