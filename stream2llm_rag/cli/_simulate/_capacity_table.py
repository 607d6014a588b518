"""The answer of the capacity planner as a table and in words."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream2llm_rag.cli._simulate._capacity import Capacity, Goal
from stream2llm_rag.cli._simulate._plan import Plan
from stream2llm_rag.cli._simulate._tables import print_bounds, workload_line

__all__ = ["answer", "print_capacity"]


def print_capacity(console: Console, plan: Plan, found: list[Capacity]) -> None:
    """Prints every number that was tried, the bound, and one sentence for each policy."""
    goal = found[0].goal
    title = (
        f"Simulated, not measured: {workload_line(plan, None)},"
        f" {goal.tenant_qps:g} queries/s a tenant, limit {_limits(goal)}"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("Policy")
    for name in ("Tenants", "Queries/s", "P50, s", "P95, s", "P99, s"):
        table.add_column(name, justify="right")
    table.add_column("Within the limit")
    for capacity in found:
        points = sorted(capacity.points, key=lambda point: point.tenants)
        for point in points:
            times = point.ttft_from_final_s
            table.add_row(
                escape(plan.label(capacity.run)),
                str(point.tenants),
                f"{point.tenants * goal.tenant_qps:g}",
                *(f"{times[name]:.3f}" for name in ("p50", "p95", "p99")),
                "[green]yes[/]" if point.within else "[red]no[/]",
                end_section=point is points[-1],
            )
    console.print(table)
    print_bounds(console, found)
    for capacity in found:
        console.print(escape(answer(plan, capacity)), soft_wrap=True)


def answer(plan: Plan, capacity: Capacity) -> str:
    """Says in one sentence how many tenants can be served."""
    goal, label = capacity.goal, plan.label(capacity.run)
    each = f"at {goal.tenant_qps:g} queries/s each"
    if not capacity.tenants:
        return f"{label}: not even one tenant {each} keeps {_limits(goal)}"
    if capacity.at_least:
        return (
            f"{label}: at least {capacity.tenants} tenants {each} ({capacity.qps:g} queries/s) keep"
            f" {_limits(goal)}; raise --queries to look further, every tenant asks at least once"
        )
    return (
        f"{label}: {capacity.tenants} tenants {each} ({capacity.qps:g} queries/s) keep"
        f" {_limits(goal)}"
    )


def _limits(goal: Goal) -> str:
    limits = (f"{name.upper()} under {limit_s:g} s" for name, limit_s in goal.limits().items())
    return " and ".join(limits)
