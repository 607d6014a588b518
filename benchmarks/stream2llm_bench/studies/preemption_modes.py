"""Recompute, swap and auto on simulated hardware: memory pressure on fast and slow machines.

    python -m stream2llm_bench.studies.preemption_modes [--seeds 0,1,2] [--json OUT]

The crawler trace with delays times ten and the update trace with delays times thirty, on four
profiles. Shown is the P99 of the time from final context to first token, and auto's over that of
the better pure mode.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from stream2llm_bench.studies._result_file import add_json_option, write_figures
from stream2llm_bench.studies.paper_runs import Traffic, paper_queries, paper_settings
from stream2llm_engine.simulator import simulate
from stream2llm_profiles import load_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream2llm_bench.studies.published import WorkloadName

__all__ = ["CASES", "Case", "measure", "ratio_to_better"]

MODES = ("recompute", "swap", "auto")
POLICY = "srpt"
TARGET_EACH = 1.02
TARGET_MEAN = 0.95


class Case(NamedTuple):
    """A trace on a machine.

    Attributes:
        profile: Name of the machine's profile.
        traffic: The trace and its rate, near what the machine can do.
        queries: Its length.
    """

    profile: str
    traffic: Traffic
    queries: int

    @property
    def label(self) -> str:
        """The case in words."""
        return f"{self.traffic.workload} x{self.traffic.delay}, {self.profile}"


def _cases() -> tuple[Case, ...]:
    delays: dict[WorkloadName, int] = {"crawler": 10, "anns": 30}
    rates: dict[WorkloadName, dict[str, float]] = {
        "crawler": {"h200-tp2": 4.0, "h100-tp2": 4.0, "slow-gpu": 0.4, "slow-pcie": 4.0},
        "anns": {"h200-tp2": 2.0, "h100-tp2": 2.0, "slow-gpu": 0.2, "slow-pcie": 2.0},
    }
    queries: dict[WorkloadName, int] = {"crawler": 2500, "anns": 500}
    return tuple(
        Case(f"{machine}-llama-3.1-8b", Traffic(workload, delays[workload], qps), queries[workload])
        for workload, machines in rates.items()
        for machine, qps in machines.items()
    )


CASES = _cases()


def measure(case: Case, seed: int, *, queries: int | None = None) -> dict[str, dict[str, Any]]:
    """Return the figures of every mode on one trace.

    Args:
        case: What to simulate.
        seed: Seed of the trace.
        queries: Its length, where the case's own is too long.
    """
    settings = paper_settings(load_profile(case.profile), case.traffic.workload, POLICY)
    trace = paper_queries(case.traffic, seed=seed, order="stable", count=queries or case.queries)
    return {
        mode: simulate(trace, replace(settings, preemption=mode)).figures()  # type: ignore[arg-type]
        for mode in MODES
    }


def ratio_to_better(figures: dict[str, dict[str, Any]]) -> float:
    """Return auto's P99 over that of the better pure mode."""
    p99 = {mode: float(figures[mode]["ttft_from_final_s"]["p99"]) for mode in MODES}
    return p99["auto"] / min(p99["recompute"], p99["swap"])


def _print(case: Case, runs: Sequence[dict[str, dict[str, Any]]]) -> float:
    for mode in MODES:
        p99 = [run[mode]["ttft_from_final_s"]["p99"] for run in runs]
        tokens = [run[mode]["tokens_recomputed"] for run in runs]
        victims = [
            1000 * sum(run[mode]["preemptions"].values()) / run[mode]["steps"] for run in runs
        ]
        idle = [1000 * run[mode]["idle_preemptions"] / run[mode]["steps"] for run in runs]
        at_work = [every - some for every, some in zip(victims, idle, strict=True)]
        print(
            f"  {mode:9}  P99 {statistics.median(p99):7.3f} s"
            f"   victims per 1,000 steps {statistics.median(victims):7.2f}"
            f", at work {statistics.median(at_work):6.2f}"
            f"   tokens recomputed {statistics.median(tokens):10.0f}"
        )
    ratios = [ratio_to_better(run) for run in runs]
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    median = statistics.median(ratios)
    print(f"  auto over the better: {median:.2f} ({each})", flush=True)
    return median


def main() -> None:
    """Run all cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    add_json_option(parser)
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    medians: list[float] = []
    report: dict[str, Any] = {"cases": {}}
    for case in CASES:
        print(case.label)
        runs = [measure(case, seed) for seed in seeds]
        medians.append(_print(case, runs))
        report["cases"][case.label] = [
            {"seed": seed, **run} for seed, run in zip(seeds, runs, strict=True)
        ]
    mean = math.exp(statistics.fmean(map(math.log, medians)))
    print(
        f"worst {max(medians):.2f} (target {TARGET_EACH}),"
        f" geometric mean {mean:.2f} (target {TARGET_MEAN})"
    )
    write_figures(arguments.json, "preemption_modes", report)


if __name__ == "__main__":
    main()
