"""The result as a table."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream2llm_engine.simulator import percentiles
from stream2llm_rag.cli._simulate._bounds import Bounded, bounds
from stream2llm_rag.cli._simulate._plan import Plan
from stream2llm_rag.cli._simulate._run import Measured

__all__ = ["print_bounds", "print_runs", "variants", "workload_line"]

_PERCENTILES = ("p50", "p95", "p99")
_MISSING = "-"
_WIDE = 150
_Part: TypeAlias = Callable[[list[Measured]], dict[str, str]]


def workload_line(plan: Plan, qps: float | None) -> str:
    """Says what was simulated, for titles."""
    rate = "" if qps is None else f", {qps:g} queries/s"
    return f"{plan.source.name}, {plan.source.count} queries{rate}, {plan.settings.profile.name}"


def variants(measured: Iterable[Measured]) -> list[list[Measured]]:
    """Groups the runs that only differ in the seed."""
    groups: dict[tuple[object, ...], list[Measured]] = {}
    for one in measured:
        groups.setdefault(one.run[:-1], []).append(one)
    return list(groups.values())


def print_runs(console: Console, plan: Plan, measured: list[Measured]) -> None:
    """Prints one row for each policy, preemption and order, and the bound under them."""
    title = f"Simulated, not measured: {workload_line(plan, plan.source.qps)}"
    parts = (_latency, _work)
    for shown in [parts] if console.width >= _WIDE else [(part,) for part in parts]:
        console.print(_table(title, variants(measured), shown))
    if len(plan.seeds) > 1:
        console.print("Median over the seeds (lowest-highest)")
    print_bounds(console, measured)
    _warn(console, measured)


def print_bounds(console: Console, simulated: Iterable[Bounded]) -> None:
    """Prints what no policy can beat."""
    for order, bound_s in bounds(simulated).items():
        label = f" ({order})" if order else ""
        figures = percentiles(bound_s)
        values = ", ".join(f"{name.upper()} {_seconds(figures[name])} s" for name in _PERCENTILES)
        console.print(
            f"Idle machine{label}: {values} from final context to first token", soft_wrap=True
        )


def _table(title: str, groups: list[list[Measured]], parts: Sequence[_Part]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("Policy", "Preemption", "Order", "Seed"):
        table.add_column(name)
    for name in (name for part in parts for name in part(groups[0])):
        table.add_column(name, justify="right", overflow="fold")
    for group in groups:
        run = group[0].run
        table.add_row(
            escape(run.policy),
            run.preemption or _MISSING,
            run.order or _MISSING,
            ", ".join(_MISSING if one.run.seed is None else str(one.run.seed) for one in group),
            *(cell for part in parts for cell in part(group).values()),
            end_section=len(group) > 1,
        )
    return table


def _latency(group: list[Measured]) -> dict[str, str]:
    figures = [one.figures() for one in group]
    names = {"final context": "ttft_from_final_s", "query": "time_to_first_token_s"}
    return {
        f"First token\nafter {since}, s\nP50 / P95 / P99": _latencies(
            [figure[name] for figure in figures]
        )
        for since, name in names.items()
    }


def _work(group: list[Measured]) -> dict[str, str]:
    figures = [one.figures() for one in group]
    evictions = [sum(figure["preemptions"].values()) for figure in figures]
    return {
        "Tokens\ninvalidated": _counts([figure["tokens_invalidated"] for figure in figures]),
        "Tokens\nrecomputed": _counts([figure["tokens_recomputed"] for figure in figures]),
        "Preempted": _counts(evictions),
        "Completed, s": _spread([figure["completion_s"] for figure in figures], _tenths, "\n"),
    }


def _counts(values: list[int | None]) -> str:
    return _spread(values, _count, "\n")


def _latencies(figures: list[dict[str, float | None]]) -> str:
    separator = " / " if len(figures) == 1 else "\n"
    return separator.join(
        _spread([figure[name] for figure in figures], _seconds, " ") for name in _PERCENTILES
    )


def _spread(
    values: Sequence[float | None], shown: Callable[[float | None], str], separator: str
) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return _MISSING
    middle = shown(median(known))
    if len(known) == 1:
        return middle
    return f"{middle}{separator}({shown(min(known))}-{shown(max(known))})"


def _seconds(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.3f}"


def _tenths(value: float | None) -> str:
    return _MISSING if value is None else f"{value:,.1f}"


def _count(value: float | None) -> str:
    return _MISSING if value is None else f"{value:,.0f}"


def _warn(console: Console, measured: list[Measured]) -> None:
    refused = max(len(one.outcome.refused) for one in measured)
    if refused:
        console.print(
            f"[yellow]{refused} queries were refused:[/] their prompts are longer than the KV pool"
            " or the model takes, whatever the policy.",
            soft_wrap=True,
        )
