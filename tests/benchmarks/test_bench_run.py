"""What is measured in which order, and what happens when something fails.

The measuring processes are fakes with made-up times; test_bench_command runs real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from rich.console import Console

from stream2llm_bench.bench_run import BenchRun
from stream2llm_bench.measuring_process import MeasurementError
from stream2llm_bench.playing.machine import Machine
from stream2llm_bench.playing.meter import Meter
from stream2llm_bench.playing.scenarios import Plan, Traffic, queries_of
from stream2llm_bench.results import ResultFile, load_results
from stream2llm_bench.step_estimates import plan_estimate_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream2llm_bench.playing.system import Ask, EngineSpec

MACHINE = Machine(model=Path("model"), vocabulary=500, kv_bytes_per_token=4096, label="none")
PLAN = Plan(
    (
        Traffic("high", "crawler", 0.8, 6, (("blocking", None), ("warmup", None), ("srpt", None))),
        Traffic("low", "crawler", 0.2, 3, (("blocking", None), ("srpt", None)), capacity_of="high"),
        Traffic("update", "anns", 0.8, 4, (("blocking", "stable"), ("srpt", "rank"))),
    ),
    seeds=(0, 1),
    bound_stride=2,
)


class FakePool:
    """Answers like measuring processes, and remembers what was asked."""

    def __init__(self, fails: Callable[[Ask], bool] = lambda _: False) -> None:
        self.asked: list[tuple[str, str, str, int]] = []
        self.specs: list[EngineSpec] = []
        self.dropped: list[EngineSpec] = []
        self.rates: dict[tuple[str, int], float] = {}
        self._fails = fails

    def keep_only(self, specs: set[EngineSpec]) -> None:
        assert specs

    def get(self, spec: EngineSpec) -> FakePool:
        self.specs.append(spec)
        return self

    def drop(self, spec: EngineSpec) -> None:
        self.dropped.append(spec)

    def ask(self, ask: Ask, *, timeout_s: float, on_progress: Callable[[int], None]) -> Any:
        assert timeout_s > 0
        self.asked.append((ask.do, ask.scenario.name, ask.system, ask.seed))
        self.rates[ask.scenario.name, ask.seed] = ask.scenario.qps
        if self._fails(ask):
            raise MeasurementError("it wedged")
        on_progress(1)
        count = len(queries_of(ask.scenario, ask.seed, ask.order, 500))
        if ask.do == "bound":
            return [0.05] * len(range(0, count, ask.stride))
        samples = [0.1 * (1 + number) for number in range(count)]
        return {
            "samples": {
                "ttft_from_final_s": samples,
                "time_to_first_token_s": [2 + sample for sample in samples],
                "inter_token_s": [],
            },
            "failed": 0,
            "note": None,
            "completion_s": 3.0 * (1 + ask.seed),
            "throughput_tokens_s": 100.0,
            "peak_memory_mib": 1.0,
            "cpu_s": 1.0,
            "timeline": [{"final_s": 2.0, "token_s": [2.1], "prefills_s": [], "arrivals_s": [2.0]}],
        }


def measure(
    tmp_path: Path, pool: FakePool, results: ResultFile | None = None, plan: Plan = PLAN
) -> ResultFile:
    path = tmp_path / "results.json"
    results = results or ResultFile(command="test")
    with Meter(Console(quiet=True), plan_estimate_s(plan)) as meter:
        run = BenchRun(plan, MACHINE, results, path, meter, cast("Any", pool))
        run.run()
    assert load_results(path) == run.results
    return run.results


def test_everything_of_the_plan_is_measured_once(tmp_path: Path) -> None:
    pool = FakePool()
    results = measure(tmp_path, pool)
    runs = [(r.scenario, r.policy, r.order, r.seed) for r in results.runs]
    assert len(set(runs)) == len(runs) == 2 * (3 + 2 + 2)
    assert len(pool.asked) == len(set(pool.asked)) + 2  # both orders of "update" have a bound
    capacity = [(c.scenario, c.seed) for c in results.capacity]
    assert capacity == [(name, seed) for name in ("high", "update") for seed in (0, 1)]
    assert {t.policy for t in results.timelines} == {"blocking", "warmup", "srpt"}


def test_systems_take_turns_on_every_trace(tmp_path: Path) -> None:
    pool = FakePool()
    measure(tmp_path, pool)
    played = [asked[2:] for asked in pool.asked if asked[:2] == ("play", "high")]
    assert played == [(s, seed) for seed in (0, 1) for s in ("blocking", "warmup", "srpt")]


def test_rates_follow_from_what_blocking_answers_right_before(tmp_path: Path) -> None:
    pool = FakePool()
    results = measure(tmp_path, pool)
    assert results.scenario("high").qps == pytest.approx(0.8 * 6 / 3.0)
    assert results.scenario("low").qps == pytest.approx(0.2 * 6 / 3.0)
    # The fake is half as fast when the second seed is played.
    assert pool.rates["high", 1] == pytest.approx(0.8 * 6 / 6.0)
    assert pool.rates["low", 1] == pytest.approx(0.2 * 6 / 6.0)
    asked = [(do, seed) for do, name, _, seed in pool.asked if name == "high"]
    for seed in (0, 1):
        assert asked.index(("drain", seed)) + 1 == asked.index(("bound", seed))


def test_capacity_is_measured_with_the_pool_that_is_played_with(tmp_path: Path) -> None:
    systems = (("blocking", None), ("srpt", None))
    pressed = Traffic("pressed", "crawler", 0.8, 6, systems, pool_share=0.2)
    pool = FakePool()
    results = measure(tmp_path, pool, plan=Plan((pressed,), seeds=(0, 1), bound_stride=2))
    sized, *drained = [
        spec.size.pool_bytes
        for spec, asked in zip(pool.specs, pool.asked, strict=True)
        if asked[0] == "drain"
    ]
    (played,) = {
        spec.size.pool_bytes
        for spec, asked in zip(pool.specs, pool.asked, strict=True)
        if asked[0] == "play"
    }
    assert drained == [played, played]
    assert sized > 10 * played
    assert [c.seed for c in results.capacity] == [0, 1]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = measure(tmp_path, FakePool())
    half = whole.model_copy(update={"runs": whole.runs[:4], "bounds": whole.bounds[:2]})
    pool = FakePool()
    again = measure(tmp_path, pool, half)
    assert not any(asked[0] == "drain" for asked in pool.asked)
    key = [(r.scenario, r.policy, r.order, r.seed) for r in whole.runs]
    assert sorted(map(str, key)) == sorted(
        str((r.scenario, r.policy, r.order, r.seed)) for r in again.runs
    )
    done = FakePool()
    measure(tmp_path, done, again)
    assert done.asked == []


def test_who_wedges_is_reported_and_loses_nobody_else(tmp_path: Path) -> None:
    pool = FakePool(lambda ask: (ask.do, ask.system, ask.seed) == ("play", "warmup", 0))
    results = measure(tmp_path, pool)
    (failed,) = [run for run in results.runs if run.failed]
    assert failed.policy == "warmup"
    assert failed.failed == 6
    assert failed.note == "it wedged"
    assert len(pool.dropped) >= 1
    assert len(results.runs) == 14


def test_vllms_own_sessions_need_an_engine_of_their_own(tmp_path: Path) -> None:
    pool = FakePool()
    measure(tmp_path, pool)
    kinds = {(spec.kind, spec.policy) for spec in pool.specs}
    assert kinds == {("stock", "srpt"), ("stream", "srpt")}
    assert len({spec.size for spec in pool.specs}) == 1
