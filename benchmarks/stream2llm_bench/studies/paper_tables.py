"""The published tables, simulated.

``python -m stream2llm_bench.studies.paper_tables`` runs every published setting in the simulator,
with our own policy beside the paper's, and prints simulated beside published TTFT. ``--knobs``
prints instead how the two free knobs of the update workload move what is published about it.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import product
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from stream2llm_bench.environment import command_line, environment
from stream2llm_bench.studies.knob_curve import KNOB_RATES, KNOBS, knob_curve
from stream2llm_bench.studies.paper_report import print_accuracy, print_knobs, print_settings
from stream2llm_bench.studies.paper_runs import PROFILES, Traffic, paper_queries, paper_settings
from stream2llm_bench.studies.published import ROWS, published_row
from stream2llm_engine.simulator import simulate
from stream2llm_profiles import load_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stream2llm_bench.studies.published import Hardware, PublishedRow
    from stream2llm_engine.simulator import SimulationOutcome

__all__ = ["RunResult", "print_knob_curve", "run_tables"]

_Order: TypeAlias = Literal["rank", "stable"]
_WIDTH = 120


class RunResult(NamedTuple):
    """One policy in one setting; medians over the seeds.

    Attributes:
        hardware: Of the profile.
        traffic: Which trace, how fast.
        policy: Name of the policy.
        order: Where documents stand in the prompt.
        ttft_s: P50, P95 and P99 of TTFT from the final context.
        seeds: What result files hold of each seed's run.
    """

    hardware: Hardware
    traffic: Traffic
    policy: str
    order: _Order
    ttft_s: tuple[float, float, float]
    seeds: list[dict[str, Any]]

    def preemptions(self) -> int:
        """Return the median number of preemptions."""
        return int(np.median([sum(run["preemptions"].values()) for run in self.seeds]))


def run_tables(
    seeds: Sequence[int],
    *,
    queries: int | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_run: Callable[[str], None] = lambda label: None,
) -> list[RunResult]:
    """Run every published setting under the paper's policies and ours.

    Args:
        seeds: Seeds of the workloads; results are medians over them.
        queries: Queries of each run; ``None``: as many as the paper's.
        on_start: Called once with the number of simulations.
        on_run: Called before each simulation with what it is.
    """
    plan = list(_plan())
    on_start(len(seeds) * sum(len(p.machines) * len(p.policies) for p in plan))
    profiles = {hardware: load_profile(name) for hardware, name in PROFILES.items()}
    outcomes: dict[tuple[Hardware, Traffic, str, _Order], list[SimulationOutcome]] = {}
    for (traffic, order, machines, policies), seed in product(plan, seeds):
        workload = paper_queries(traffic, seed=seed, order=order, count=queries)
        for hardware, policy in product(machines, policies):
            on_run(f"{hardware} {traffic.workload} x{traffic.delay} {traffic.qps:g} {policy}")
            settings = paper_settings(profiles[hardware], traffic.workload, policy)
            key = (hardware, traffic, policy, order)
            outcomes.setdefault(key, []).append(simulate(workload, settings))
    return [_result(*key, runs) for key, runs in outcomes.items()]


class _Batch(NamedTuple):
    """Runs that share a workload."""

    traffic: Traffic
    order: _Order
    machines: list[Hardware]
    policies: list[str]


def _plan() -> Iterator[_Batch]:
    rows: dict[Traffic, list[PublishedRow]] = {}
    for row in ROWS:
        rows.setdefault(Traffic(row.workload, row.delay, row.qps), []).append(row)
    for traffic, published in rows.items():
        machines = list(dict.fromkeys(row.hardware for row in published))
        policies = [*dict.fromkeys(row.policy for row in published), "srpt"]
        yield _Batch(traffic, "rank", machines, policies)
        if traffic.workload == "anns":
            yield _Batch(traffic, "stable", machines, ["srpt"])


def _result(
    hardware: Hardware,
    traffic: Traffic,
    policy: str,
    order: _Order,
    outcomes: list[SimulationOutcome],
) -> RunResult:
    figures = [outcome.figures() for outcome in outcomes]
    p50, p95, p99 = (
        float(np.median([run["ttft_from_final_s"][name] for run in figures]))
        for name in ("p50", "p95", "p99")
    )
    return RunResult(hardware, traffic, policy, order, (p50, p95, p99), figures)


def _json(results: list[RunResult], seeds: Sequence[int]) -> dict[str, Any]:
    runs = [
        {
            "hardware": result.hardware,
            "workload": result.traffic.workload,
            "delay": result.traffic.delay,
            "qps": result.traffic.qps,
            "policy": result.policy,
            "preemption": "recompute",
            "order": result.order,
            "seed": seed,
            **figures,
        }
        for result in results
        for seed, figures in zip(seeds, result.seeds, strict=True)
    ]
    published = [row._asdict() for row in ROWS]
    return {
        "command": command_line("stream2llm_bench.studies.paper_tables"),
        "environment": environment(),
        "runs": runs,
        "published": published,
    }


def main(
    queries: Annotated[int | None, typer.Option(min=1, help="Queries of each run.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between them.")] = "0,1,2",
    json_path: Annotated[Path | None, typer.Option("--json", help="Where figures go.")] = None,
    *,
    knobs: Annotated[bool, typer.Option("--knobs", help="Only vary the two knobs.")] = False,
) -> None:
    """Simulate the published tables."""
    console = _console()
    numbers = [int(seed) for seed in seeds.split(",")]
    if knobs:
        print_knob_curve(console, numbers, queries)
        return
    with _progress(console) as bar:
        task = bar.add_task("Drawing workloads")
        results = run_tables(
            numbers,
            queries=queries,
            on_start=lambda total: bar.update(task, total=total, completed=-1),
            on_run=lambda label: bar.update(task, advance=1, description=label),
        )
    if json_path is not None:
        json_path.write_text(json.dumps(_json(results, numbers), indent=1) + "\n")
    print_settings(console, results)
    print_accuracy(console, results)


def print_knob_curve(console: Console, seeds: Sequence[int], queries: int | None) -> None:
    """Print what replacement and re-rank rate do, beside the published ratios."""
    with _progress(console) as bar:
        task = bar.add_task("Varying the knobs", total=len(KNOBS) * len(seeds))
        curve = knob_curve(seeds, queries=queries, on_run=partial(bar.advance, task))
    published = [
        published_row("H200", "anns", qps, "fcfs").p50
        / published_row("H200", "anns", qps, "blocking").p50
        for qps in KNOB_RATES
    ]
    print_knobs(console, curve, published)


def _console() -> Console:
    # Where there is no terminal, rich takes 80 columns: too few for these tables.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def _progress(console: Console) -> Progress:
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


if __name__ == "__main__":
    typer.run(main)
