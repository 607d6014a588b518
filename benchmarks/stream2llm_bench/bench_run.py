"""Measures a plan step by step; what is in the result file already is not measured again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream2llm_bench.measuring_process import MeasurementError
from stream2llm_bench.playing.clients import EngineSize
from stream2llm_bench.playing.scenarios import (
    BLOCK_SIZE,
    draft_scenario,
    pool_tokens,
    queries_of,
)
from stream2llm_bench.playing.system import Ask, EngineSpec
from stream2llm_bench.results import (
    BASELINES,
    BoundResult,
    Capacity,
    RequestTimeline,
    ResultFile,
    RunResult,
    Scenario,
    percentiles,
)
from stream2llm_bench.step_estimates import (
    bound_estimate_s,
    capacity_estimate_s,
    play_estimate_s,
)

if TYPE_CHECKING:
    from pathlib import Path

    from stream2llm_bench.playing.machine import Machine
    from stream2llm_bench.playing.meter import Meter
    from stream2llm_bench.playing.scenarios import Plan, Traffic
    from stream2llm_bench.playing.system_pool import SystemPool

__all__ = ["BenchRun"]

_PATIENCE_S = 30.0
_OURS = "srpt"
_PREEMPTION = "auto"


class BenchRun:
    """One result file in the making.

    Args:
        plan: What to measure.
        machine: What every engine runs.
        results: What has been measured.
        path: Where results go, after every step.
        meter: Shows progress.
        pool: Where measuring processes come from.
    """

    def __init__(
        self,
        plan: Plan,
        machine: Machine,
        results: ResultFile,
        path: Path,
        meter: Meter,
        pool: SystemPool,
    ) -> None:
        self._plan = plan
        self._machine = machine
        self._path = path
        self._meter = meter
        self._pool = pool
        self.results = results

    def run(self) -> None:
        """Play every scenario.

        Raises:
            MeasurementError: Stock vLLM or our engine does not start.
        """
        for traffic in self._plan.traffic:
            self._play_scenario(traffic)

    # -- one scenario ----------------------------------------------------------------------------

    def _play_scenario(self, traffic: Traffic) -> None:
        if self._scenario(traffic) is not None and not self._missing(traffic):
            return
        scenario = self._scenario(traffic) or self._sized_scenario(traffic)
        self._pool.keep_only(self._specs(traffic, scenario))
        # Systems take turns, so that a change of the machine's speed meets all of them.
        for seed in self._plan.seeds_of(traffic):
            missing = [one for one in self._missing(traffic) if one[2] == seed]
            if not missing:
                continue
            qps = traffic.load * self._capacity_qps(traffic, scenario, seed)
            at_seed = scenario.model_copy(update={"qps": qps})
            for order in dict.fromkeys(order for _, order, _ in missing):
                self._bound(traffic, at_seed, order, seed)
            for system, order, _ in missing:
                self._play(at_seed, system, order, seed)

    def _missing(self, traffic: Traffic) -> list[tuple[str, Any, int]]:
        done = {(r.scenario, r.policy, r.order, r.seed) for r in self.results.runs}
        return [
            trace for trace in self._plan.traces_of(traffic) if (traffic.name, *trace) not in done
        ]

    def _scenario(self, traffic: Traffic) -> Scenario | None:
        return next((s for s in self.results.scenarios if s.name == traffic.name), None)

    def _specs(self, traffic: Traffic, scenario: Scenario) -> set[EngineSpec]:
        """Return the engines that a scenario needs."""
        systems = [system for system, _ in traffic.systems]
        return {self._spec(scenario, system) for system in (*systems, _OURS, "blocking")}

    def _sized_scenario(self, traffic: Traffic) -> Scenario:
        """Find the rate of arrivals, and the pool that follows from it."""
        ample = draft_scenario(traffic._replace(pool_share=None), 1.0)
        ample = ample.model_copy(update={"pool_tokens": pool_tokens(ample)})
        seed = self._plan.seeds[0]
        self._pool.keep_only(self._specs(traffic, ample))
        if traffic.pool_share is None:
            capacity_qps = self._capacity_qps(traffic, ample, seed)
        else:
            # The working set follows from the rate; capacity is measured with its share of it.
            prompts = ample.model_copy(update={"pool_share": traffic.pool_share})
            capacity_qps = self._drain(traffic, prompts, seed).qps
        scenario = draft_scenario(traffic, traffic.load * capacity_qps)
        scenario = scenario.model_copy(update={"pool_tokens": pool_tokens(scenario)})
        self._save(scenarios=[*self.results.scenarios, scenario])
        return scenario

    def _capacity_qps(self, traffic: Traffic, scenario: Scenario, seed: int) -> float:
        name = traffic.capacity_of or traffic.name
        for capacity in self.results.capacity:
            if (capacity.scenario, capacity.seed) == (name, seed):
                return capacity.qps
        capacity = self._drain(traffic, scenario, seed)
        self._save(capacity=[*self.results.capacity, capacity])
        return capacity.qps

    def _drain(self, traffic: Traffic, scenario: Scenario, seed: int) -> Capacity:
        """Give blocking all prompts of a trace at once."""
        order = traffic.systems[0][1]
        self._meter.describe(f"{traffic.name}: capacity of blocking, seed {seed}")
        ask = Ask(do="drain", scenario=scenario, system="blocking", order=order, seed=seed)
        done = self._ask(scenario, ask)
        self._meter.finish(capacity_estimate_s(traffic))
        tokens = sum(len(query.final_prompt()) for query in self._queries(scenario, seed, order))
        return Capacity(
            scenario=traffic.capacity_of or traffic.name,
            seed=seed,
            queries=traffic.queries,
            tokens=tokens,
            drain_s=done["completion_s"],
            qps=traffic.queries / done["completion_s"],
        )

    # -- one step --------------------------------------------------------------------------------

    def _bound(self, traffic: Traffic, scenario: Scenario, order: Any, seed: int) -> None:
        """Ask an idle machine; the bound does not depend on who serves under load."""
        if self._bound_samples(scenario.name, order, seed):
            return
        stride = self._plan.stride_of(traffic)
        self._meter.describe(f"{traffic.name}: idle machine, seed {seed}")
        ask = Ask(
            do="bound", scenario=scenario, system=_OURS, order=order, seed=seed, stride=stride
        )
        samples = self._ask(scenario, ask)
        bound = BoundResult(
            scenario=scenario.name, order=order, seed=seed, stride=stride, samples=samples
        )
        bounds = [*self.results.bounds, bound]
        everything = [value for one in bounds for value in one.samples]
        self._save(bounds=bounds, bound=percentiles(everything))
        self._meter.finish(bound_estimate_s(traffic, stride))

    def _play(self, scenario: Scenario, system: str, order: Any, seed: int) -> None:
        at = f", {order}" if order else ""
        self._meter.describe(f"{scenario.name}: {system}{at}, seed {seed}")
        ask = Ask(
            do="play",
            scenario=scenario,
            system=system,
            order=order,
            seed=seed,
            patience_s=_PATIENCE_S,
        )
        try:
            done = self._ask(scenario, ask)
        except MeasurementError as error:
            # Who wedges is reported as that, and loses nobody else's measurement.
            self._pool.drop(self._spec(scenario, system))
            done = _nothing(scenario, str(error))
        timeline = done.pop("timeline", [])
        samples = done["samples"]
        run = RunResult(
            scenario=scenario.name,
            policy=system,
            preemption=None if system in BASELINES else _PREEMPTION,
            order=order,
            seed=seed,
            qps=scenario.qps,
            bound_s=percentiles(self._bound_samples(scenario.name, order, seed)),
            **{name: percentiles(samples[name]) for name in samples},
            **done,
        )
        if run.failed and system in BASELINES:
            # What it still does of the failed trace must not disturb the next one.
            self._pool.drop(self._spec(scenario, system))
        timelines = self.results.timelines
        if scenario.name == self._plan.traffic[0].name and seed == self._plan.seeds[0]:
            timelines = [
                *timelines,
                *(RequestTimeline(policy=system, **one) for one in timeline),
            ]
        self._save(runs=[*self.results.runs, run], timelines=timelines)
        self._meter.finish(play_estimate_s(scenario.queries, scenario.load))

    def _bound_samples(self, scenario: str, order: Any, seed: int) -> list[float]:
        return [
            value
            for one in self.results.bounds
            if (one.scenario, one.order, one.seed) == (scenario, order, seed)
            for value in one.samples
        ]

    def _ask(self, scenario: Scenario, ask: Ask) -> Any:
        spec = self._spec(scenario, ask.system)
        trace_s = max(q.final_s for q in self._queries(ask.scenario, ask.seed, ask.order))
        return self._pool.get(spec).ask(
            ask, timeout_s=trace_s + 2 * _PATIENCE_S, on_progress=self._meter.answered
        )

    def _queries(self, scenario: Scenario, seed: int, order: Any) -> Any:
        return queries_of(scenario, seed, order, self._machine.vocabulary)

    def _spec(self, scenario: Scenario, system: str) -> EngineSpec:
        size = EngineSize(
            model=str(self._machine.model),
            pool_bytes=(scenario.pool_tokens // BLOCK_SIZE + 1)
            * BLOCK_SIZE
            * self._machine.kv_bytes_per_token,
            block_size=BLOCK_SIZE,
            # vLLM wants room for one sequence of that length.
            max_model_len=min(self._machine.max_model_len, scenario.pool_tokens),
            token_budget=self._machine.token_budget,
            engine_arguments=self._machine.engine_arguments,
        )
        common = {"size": size, "vocabulary": self._machine.vocabulary}
        if system == "streaming_input":
            return EngineSpec(kind="async_stock", **common)
        if system in BASELINES:
            return EngineSpec(kind="stock", **common)
        return EngineSpec(kind="stream", policy=system, preemption=_PREEMPTION, **common)

    def _save(self, **changes: Any) -> None:
        self.results = self.results.model_copy(update=changes)
        self.results.save(self._path)


def _nothing(scenario: Scenario, why: str) -> dict[str, Any]:
    return {
        "samples": {"ttft_from_final_s": [], "time_to_first_token_s": [], "inter_token_s": []},
        "failed": scenario.queries,
        "note": why,
        "completion_s": 0.0,
        "throughput_tokens_s": 0.0,
        "peak_memory_mib": 0.0,
        "cpu_s": 0.0,
    }
