"""Simulating a plan, with a progress bar."""

from dataclasses import dataclass
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stream2llm_engine.simulator import (
    BASELINES,
    SimulatedQuery,
    SimulationOutcome,
    SimulationSettings,
    idle_bound,
    percentiles,
    simulate,
)
from stream2llm_rag.cli._simulate._plan import Plan, Run

__all__ = ["Measured", "Meter", "measure", "run_plan"]

_BLOCKING, _ = BASELINES
# Nothing of a blocking request is thrown away by an update, and its tokens are not counted.
_ONLY_STREAMING = (
    "tokens_computed",
    "tokens_invalidated",
    "tokens_recomputed",
    "tokens_reused",
    "idle_preemptions",
    "evicted_blocks",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A finished simulation.

    Attributes:
        run: What was simulated.
        qps: Mean rate of arrivals.
        outcome: What was measured.
        bound_s: The idle machine's times to first token, of the queries that were answered.
    """

    run: Run
    qps: float | None
    outcome: SimulationOutcome
    bound_s: list[float]

    def figures(self) -> dict[str, Any]:
        """Returns what the result file holds of it."""
        figures = self.outcome.figures()
        if self.run.policy == _BLOCKING:
            figures |= dict.fromkeys(_ONLY_STREAMING)
        figures["preemptions"] = {"recompute": 0, "swap": 0, **figures["preemptions"]}
        figures["bound_s"] = percentiles(self.bound_s)
        tenants = self._tenants()
        if len(tenants) > 1:
            figures["tenants"] = {name: percentiles(tenants[name]) for name in tenants}
        return {**self.run._asdict(), "qps": self.qps, **figures}

    def _tenants(self) -> dict[str, list[float]]:
        outcome = self.outcome
        names = sorted(set(outcome.tenants.values()), key=lambda name: (len(name), name))
        times: dict[str, list[float]] = {name: [] for name in names}
        for query_id, seconds in outcome.ttft_from_final_s.items():
            times[outcome.tenants[query_id]].append(seconds)
        return times


class Meter:
    """A progress bar over answered queries.

    Args:
        console: Where it is shown.
        total: Queries of all simulations, where that is known before.
    """

    def __init__(self, console: Console, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._task = self._progress.add_task("", total=total)
        self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def describe(self, text: str) -> None:
        """Says what is being done."""
        self._progress.update(self._task, description=text)

    def answered(self, queries: int) -> None:
        """Shows the answered queries of the current simulation."""
        self._progress.update(self._task, completed=self._done + queries)

    def finish(self, queries: int) -> None:
        """Ends a simulation of that many queries, refused ones included."""
        self._done += queries
        self._progress.update(self._task, completed=self._done)

    def restart(self, total: int) -> None:
        """Starts over with another total."""
        self._done = 0
        self._progress.update(self._task, completed=0, total=total)


def run_plan(plan: Plan, console: Console) -> list[Measured]:
    """Simulates every run of a plan; those of a workload share its queries."""
    runs = [run for seed in plan.seeds for run in plan.runs(seed)]
    measured: list[Measured] = []
    with Meter(console, len(runs) * plan.source.count) as meter:
        for seed, order, batch in plan.batches():
            meter.describe("Preparing the queries")
            queries = plan.source.queries(seed, order)
            bound_s = idle_bound(queries, plan.settings)
            for run in batch:
                meter.describe(_label(plan, run))
                outcome = measure(queries, plan.settings_of(run), meter)
                answered = [bound_s[query_id] for query_id in outcome.ttft_from_final_s]
                measured.append(
                    Measured(run=run, qps=plan.source.qps, outcome=outcome, bound_s=answered)
                )
    return sorted(measured, key=lambda one: runs.index(one.run))


def measure(
    queries: list[SimulatedQuery], settings: SimulationSettings, meter: Meter
) -> SimulationOutcome:
    """Simulates one run."""
    outcome = simulate(queries, settings, on_progress=meter.answered)
    meter.finish(len(queries))
    return outcome


def _label(plan: Plan, run: Run) -> str:
    seed = f", seed {run.seed}" if len(plan.seeds) > 1 else ""
    return plan.label(run) + seed
