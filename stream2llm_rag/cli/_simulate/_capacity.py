"""How many tenants an engine can serve within limits on the time to first token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from stream2llm_engine.simulator import idle_bound
from stream2llm_rag.cli._simulate._plan import Plan, Run
from stream2llm_rag.cli._simulate._run import Measured, Meter, measure
from stream2llm_rag.cli._simulate._workload import Generated
from stream2llm_rag.cli.errors import CommandError

__all__ = ["Capacity", "Goal", "Point", "find_capacity", "most_tenants"]


class Goal(BaseModel):
    """What every tenant does, and what it must get.

    Attributes:
        tenant_qps: Queries a second of each tenant.
        slo_p95: Limit in seconds on the P95 of the time from final context to first token.
        slo_p99: Limit on the P99.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    tenant_qps: float = Field(default=0.05, gt=0)
    slo_p95: float | None = Field(default=None, gt=0)
    slo_p99: float | None = Field(default=None, gt=0)

    def limits(self) -> dict[str, float]:
        """Returns the limits by percentile; the tightest percentile is last."""
        limits = {"p95": self.slo_p95, "p99": self.slo_p99}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A number of tenants that was tried.

    Attributes:
        tenants: The number.
        within: Whether all limits hold.
        figures: What was measured, as in the result file.
    """

    tenants: int
    within: bool
    figures: dict[str, Any]

    @property
    def ttft_from_final_s(self) -> dict[str, float]:
        """Percentiles of the time from final context to first token."""
        times: dict[str, float] = self.figures["ttft_from_final_s"]
        return times


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The answer for one policy, preemption and order.

    Attributes:
        run: What was simulated.
        goal: The limits.
        tenants: Most tenants within the limits; 0 when one is too many.
        at_least: Whether the search ended at the most tenants that can be tried.
        points: What was tried, in that order.
        bound_s: The idle machine's times to first token, of the queries that were answered.
    """

    run: Run
    goal: Goal
    tenants: int
    at_least: bool
    points: list[Point]
    bound_s: list[float]

    @property
    def qps(self) -> float:
        """Queries a second of all tenants together."""
        return self.tenants * self.goal.tenant_qps

    def figures(self) -> dict[str, Any]:
        """Returns what the result file holds of it."""
        return {
            **self.run._asdict(),
            "tenant_qps": self.goal.tenant_qps,
            "limits_s": self.goal.limits(),
            "tenants": self.tenants,
            "at_least": self.at_least,
            "qps": self.qps,
            "points": [
                {**point.figures, "tenants": point.tenants, "within": point.within}
                for point in self.points
            ],
        }


def most_tenants(holds: Callable[[int], bool], most: int) -> int:
    """Returns the largest number up to ``most`` that holds, if all smaller ones do; else 0."""
    low, high = 0, 1
    while holds(high):
        low = high
        if high == most:
            return most
        high = min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def find_capacity(plan: Plan, goal: Goal, console: Console) -> list[Capacity]:
    """Searches for every policy, preemption and order of a plan.

    Raises:
        CommandError: The plan's workload cannot be given another number of tenants.
    """
    source = plan.source
    if not isinstance(source, Generated):
        msg = "--find-tenants needs a generated workload, crawler or anns, not a trace file"
        raise CommandError(msg)
    if len(plan.seeds) > 1:
        msg = "--find-tenants takes one --seed"
        raise CommandError(msg)
    with Meter(console, source.count) as meter:
        return [
            _Search(plan, source, run, goal, meter).capacity() for run in plan.runs(plan.seeds[0])
        ]


class _Search:
    """The search for one run of a plan."""

    def __init__(self, plan: Plan, source: Generated, run: Run, goal: Goal, meter: Meter) -> None:
        self._plan = plan
        self._source = source
        self._run = run
        self._goal = goal
        self._meter = meter
        self._points: list[Point] = []
        self._bound_s: list[float] = []

    def capacity(self) -> Capacity:
        # With more tenants than queries some would not ask at all.
        most = self._source.count
        tenants = most_tenants(self._holds, most)
        return Capacity(
            run=self._run,
            goal=self._goal,
            tenants=tenants,
            at_least=tenants == most,
            points=self._points,
            bound_s=self._bound_s,
        )

    def _holds(self, tenants: int) -> bool:
        run, goal = self._run, self._goal
        self._meter.restart(self._source.count)
        self._meter.describe(f"{self._plan.label(run)}: {tenants} tenants")
        source = self._source.with_tenants(tenants, goal.tenant_qps)
        # Blocking has no order of its own, and the workload of any serves it.
        queries = source.queries(run.seed, run.order)
        outcome = measure(queries, self._plan.settings_of(run), self._meter)
        if not outcome.ttft_from_final_s:
            msg = "no query fits the KV pool: raise --pool-tokens"
            raise CommandError(msg)
        if not self._points:
            # No rate changes the contexts.
            bound_s = idle_bound(queries, self._plan.settings)
            self._bound_s = [bound_s[query_id] for query_id in outcome.ttft_from_final_s]
        measured = Measured(run=run, qps=source.qps, outcome=outcome, bound_s=self._bound_s)
        figures = measured.figures()
        times = figures["ttft_from_final_s"]
        within = all(times[name] <= limit_s for name, limit_s in goal.limits().items())
        self._points.append(Point(tenants=tenants, within=within, figures=figures))
        return within
