"""What the simulator says about runs that were measured.

    python -m stream2llm_bench.studies.simulated_runs FILE [--scenario NAME] [--token-budget N]

Prices are fitted to the queries that an idle machine was asked in that file, and to nothing else:
what is simulated with them, the same arrivals under load, is a prediction, and stands beside what
was measured.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stream2llm_bench.playing.scenarios import TOKEN_BUDGET, queries_of
from stream2llm_bench.results import load_results, percentiles
from stream2llm_bench.studies._result_file import add_json_option, write_figures
from stream2llm_bench.studies.bounded_fit import fit
from stream2llm_bench.studies.reachable import PROFILE, real
from stream2llm_engine.simulator import simulate
from stream2llm_profiles import HardwareProfile, PrefillCost, load_profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream2llm_bench.results import Percentiles, ResultFile, Scenario

__all__ = ["Beside", "fitted_prefill", "simulated"]

_VOCABULARY = 512
_SIMULATED = ("blocking", "srpt", "fcfs", "lcas", "mcps")
_POINTS = ("p50", "p95", "p99")
_MILLI, _MICRO, _NANO = 1e-3, 1e-6, 1e-9


class Beside(NamedTuple):
    """Seconds from the final context to the first token in one run.

    Attributes:
        policy: Who served it.
        seed: Seed of the trace.
        measured: What was measured.
        simulated: What the simulator says.
    """

    policy: str
    seed: int
    measured: Percentiles
    simulated: Percentiles


def fitted_prefill(results: ResultFile, name: str, token_budget: int) -> PrefillCost:
    """Return prices that explain what an idle machine took for an append-only scenario.

    Args:
        results: What was measured.
        name: Name of the scenario.
        token_budget: Tokens of a step at most.
    """
    rows, seconds = [], []
    for bound in results.bounds:
        if bound.scenario != name:
            continue
        queries = queries_of(results.scenario(name), bound.seed, bound.order, _VOCABULARY)
        for query, sample in zip(queries[:: bound.stride], bound.samples, strict=True):
            # One known token always waits for the end of the prompt.
            tokens = len(query.events[-1].token_ids) + len(query.question) + 1
            context = len(query.final_prompt()) - tokens
            rows.append([-(-tokens // token_budget), tokens, tokens * (context + tokens / 2)])
            seconds.append(sample)
    matrix = np.asarray(rows, dtype=float)

    def predict(prices: NDArray[np.float64]) -> NDArray[np.float64]:
        predicted: NDArray[np.float64] = matrix @ prices
        return predicted

    found = fit(
        predict,
        np.asarray(seconds),
        start=np.array([_MILLI, _MICRO, _NANO]),
        lower=np.array([0.0, _NANO, 0.0]),
        steps=np.array([_MILLI, _MICRO, _NANO]),
        iterations=1,
    )
    step_s, token_s, context_s = map(float, found)
    return PrefillCost(step_overhead_s=step_s, token_s=token_s, token_context_s=context_s)


def simulated(
    results: ResultFile, scenario: Scenario, profile: HardwareProfile, token_budget: int
) -> list[Beside]:
    """Return what was measured beside what is simulated, run by run.

    Args:
        results: What was measured.
        scenario: Whose runs.
        profile: What steps and copies cost.
        token_budget: Tokens of a step at most.
    """
    settings = replace(real(profile), token_budget=token_budget, pool_tokens=scenario.pool_tokens)
    found = []
    for run in results.runs:
        if run.scenario == scenario.name and run.policy in _SIMULATED:
            played = scenario.model_copy(update={"qps": run.qps})
            queries = queries_of(played, run.seed, run.order, _VOCABULARY)
            waits = simulate(queries, replace(settings, policy=run.policy)).ttft_from_final_s
            found.append(
                Beside(
                    run.policy,
                    run.seed,
                    run.ttft_from_final_s,
                    percentiles(list(waits.values())),
                )
            )
    return found


def main() -> None:
    """Print both, run by run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="result file of `stream2llm bench` or paper_scale")
    parser.add_argument("--scenario", default="crawler-high", help="one that is append-only")
    parser.add_argument("--token-budget", type=int, default=TOKEN_BUDGET)
    parser.add_argument("--profile", default=PROFILE, help="what copies of KV blocks cost")
    add_json_option(parser)
    given = parser.parse_args()
    results = load_results(given.file)
    asked = {bound.scenario for bound in results.bounds}
    usable = [s.name for s in results.scenarios if s.workload == "crawler" and s.name in asked]
    if given.scenario not in usable:
        parser.error(f"--scenario: {given.file} has the idle machine for {usable}")
    prefill = fitted_prefill(results, given.scenario, given.token_budget)
    print(
        f"step {prefill.step_overhead_s / _MILLI:.2f} ms, token {prefill.token_s / _MICRO:.2f} us,"
        f" token and context token {prefill.token_context_s / _NANO:.2f} ns"
    )
    profile = load_profile(given.profile).model_copy(update={"prefill": prefill})
    found = simulated(results, results.scenario(given.scenario), profile, given.token_budget)
    for one in found:
        pairs = zip(_POINTS, _seconds(one.measured), _seconds(one.simulated), strict=True)
        shown = "   ".join(f"{point} {real:.3f} {said:.3f}" for point, real, said in pairs)
        print(f"{one.policy:9} seed {one.seed}, measured and simulated s:  {shown}", flush=True)
    write_figures(
        given.json,
        "simulated_runs",
        {
            "prefill": prefill.model_dump(),
            "runs": [
                {
                    "policy": one.policy,
                    "seed": one.seed,
                    "measured": one.measured.model_dump(),
                    "simulated": one.simulated.model_dump(),
                }
                for one in found
            ],
        },
    )


def _seconds(found: Percentiles) -> list[float]:
    return [float(value or 0.0) for value in (found.p50, found.p95, found.p99)]


if __name__ == "__main__":
    main()
