"""What a machine without the cost of steps would do on the traces of ``stream2llm bench``.

    python -m stream2llm_bench.studies.reachable [--seeds 12] [--only crawler-high] [--json OUT]

Simulated, with the prices of the two cores that the benchmark was written on. The idle machine is
a bound that nobody under load comes near. The *fluid* one is closer to what can be had: it turns
to another prompt after every few tokens and pays nothing for it, while in all it computes as fast
as the real one does in full steps. It shows what an order of work loses to steps, and is no bound
for other orders.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from statistics import geometric_mean, median
from typing import TYPE_CHECKING, Any

from stream2llm_bench.playing.scenarios import (
    BLOCK_SIZE,
    TOKEN_BUDGET,
    all_at_once,
    draft_scenario,
    full_plan,
    pool_tokens,
    queries_of,
)
from stream2llm_bench.studies._result_file import add_json_option, write_figures
from stream2llm_engine.simulator import SimulationSettings, idle_bound, percentiles, simulate
from stream2llm_profiles import load_profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream2llm_bench.playing.scenarios import Traffic
    from stream2llm_engine.simulator import SimulatedQuery
    from stream2llm_profiles import HardwareProfile

__all__ = ["POINTS", "SYSTEMS", "fluid", "real", "times_lower"]

PROFILE = "cpu-2core-llama-30m"
POINTS = ("p50", "p95", "p99")
_SCENARIOS = ("crawler-high", "anns-high", "crawler-pressure")
_VOCABULARY = 512
_FLUID_TOKENS = 8

_Waits = Callable[["list[SimulatedQuery]", SimulationSettings], "Iterable[float]"]


def real(profile: HardwareProfile) -> SimulationSettings:
    """Return the benchmark's engine."""
    return SimulationSettings(
        profile=profile,
        preemption="auto",
        swap_space_gib=4.0,
        token_budget=TOKEN_BUDGET,
        block_size=BLOCK_SIZE,
        prefix_caching=True,
    )


def fluid(settings: SimulationSettings) -> SimulationSettings:
    """Return an engine whose steps are a few tokens long, and cost no more than in full steps."""
    prefill = settings.profile.prefill
    per_token_s = prefill.token_s + prefill.step_overhead_s / settings.token_budget
    free = prefill.model_copy(update={"step_overhead_s": 0.0, "token_s": per_token_s})
    profile = settings.profile.model_copy(update={"prefill": free})
    return replace(settings, profile=profile, token_budget=_FLUID_TOKENS)


def _waits(policy: str, *, ideal: bool) -> _Waits:
    def waits(queries: list[SimulatedQuery], settings: SimulationSettings) -> Iterable[float]:
        settings = replace(settings, policy=policy)
        return simulate(queries, fluid(settings) if ideal else settings).ttft_from_final_s.values()

    return waits


SYSTEMS: dict[str, _Waits] = {
    "idle machine": lambda queries, settings: idle_bound(queries, settings).values(),
    "fluid, srpt": _waits("srpt", ideal=True),
    "fluid, fcfs": _waits("fcfs", ideal=True),
    "srpt": _waits("srpt", ideal=False),
    "fcfs": _waits("fcfs", ideal=False),
}


def times_lower(
    traffic: Traffic, seed: int, settings: SimulationSettings
) -> dict[str, tuple[float, ...]]:
    """Return how many times lower than blocking's the percentiles of every system are.

    Args:
        traffic: What is played, at its share of what blocking can answer.
        seed: Seed of the trace.
        settings: The engine.
    """
    order = traffic.systems[0][1]
    scenario = draft_scenario(traffic, 1.0)
    ample = pool_tokens(scenario.model_copy(update={"pool_share": None}))
    settings = replace(settings, pool_tokens=ample)
    blocking = replace(settings, policy="blocking")
    prompts = all_at_once(queries_of(scenario, seed, order, _VOCABULARY))
    capacity_qps = traffic.queries / simulate(prompts, blocking).completion_s
    scenario = scenario.model_copy(update={"qps": traffic.load * capacity_qps})
    pool = pool_tokens(scenario)
    settings, blocking = replace(settings, pool_tokens=pool), replace(blocking, pool_tokens=pool)
    queries = queries_of(scenario, seed, order, _VOCABULARY)
    theirs = _points(simulate(queries, blocking).ttft_from_final_s.values())
    return {
        name: tuple(
            their / our
            for their, our in zip(theirs, _points(waits(queries, settings)), strict=True)
        )
        for name, waits in SYSTEMS.items()
    }


def _points(waits: Iterable[float]) -> list[float]:
    found = percentiles(list(waits))
    return [float(found[point] or 0.0) for point in POINTS]


def _print(name: str, results: Sequence[dict[str, tuple[float, ...]]]) -> None:
    print(f"{name}: times lower than blocking, median (geometric mean) of {len(results)} traces")
    for system in SYSTEMS:
        columns = zip(*(result[system] for result in results), strict=True)
        shown = "   ".join(
            f"{point.upper()} {median(column):5.2f} ({geometric_mean(column):5.2f})"
            for point, column in zip(POINTS, columns, strict=True)
        )
        print(f"  {system:13} {shown}", flush=True)


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12, help="how many traces")
    parser.add_argument("--only", default=",".join(_SCENARIOS))
    add_json_option(parser)
    arguments = parser.parse_args()
    settings = real(load_profile(PROFILE))
    wanted = arguments.only.split(",")
    report: dict[str, Any] = {}
    for traffic in full_plan().traffic:
        if traffic.name in wanted:
            found = [times_lower(traffic, seed, settings) for seed in range(arguments.seeds)]
            report[traffic.name] = found
            _print(traffic.name, found)
    write_figures(arguments.json, "reachable", report)


if __name__ == "__main__":
    main()
