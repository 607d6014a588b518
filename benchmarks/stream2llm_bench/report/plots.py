"""First tokens as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream2llm_bench.analysis.groups import RunGroup, bound_series, run_groups
from stream2llm_bench.analysis.targets import OURS
from stream2llm_bench.results import BASELINES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream2llm_bench.analysis.statistics import Point
    from stream2llm_bench.results import ResultFile, Scenario

__all__ = ["loads", "plot_ccdf", "plot_loads"]

_TTFT = "seconds from final context to first token"
# Okabe and Ito's palette, which the colour-blind can tell apart; its yellow is too pale for lines.
_COLOURS = {
    "blocking": "#d55e00",
    "warmup": "#e69f00",
    "streaming_input": "#cc79a7",
    "srpt": "#0072b2",
    "fcfs": "#009e73",
    "lcas": "#56b4e9",
    "mcps": "#7f7f7f",
}
_OTHER = "#000000"
_SHOWN_POINTS: tuple[Point, ...] = ("p50", "p99")


def plot_ccdf(results: ResultFile, scenario: str, path: Path) -> Path:
    """Draw the share of queries that wait at least so long, all seeds together, as PNG."""
    figure, (axis,) = _figure(1)
    groups = [g for key, g in run_groups(results).items() if key.scenario == scenario]
    for group in groups:
        _draw_ccdf(axis, group.samples("ttft_from_final_s"), **_style(group))
    for order in dict.fromkeys(group.key.order for group in groups):
        idle = bound_series(results, scenario, order).repetitions.values()
        waits = [float(wait) for samples in idle for wait in samples.ravel()]
        label = f"idle machine, {order}" if order else "idle machine"
        style = {"linestyle": ":" if order == "rank" else "--", "color": "black"}
        _draw_ccdf(axis, waits, label=label, **style)
    axis.set(xscale="log", yscale="log", xlabel=_TTFT, ylabel="share of queries that wait so long")
    axis.set_title(scenario, loc="left")
    if axis.has_data():
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    return path


def loads(results: ResultFile) -> dict[str, list[Scenario]]:
    """Return scenarios that differ in load only, from low to high, by workload."""
    found: dict[str, list[Scenario]] = {}
    for scenario in sorted(results.scenarios, key=lambda one: one.load):
        if scenario.pool_share is None and scenario.output_tokens == 1:
            found.setdefault(scenario.workload, []).append(scenario)
    return {workload: some for workload, some in found.items() if len({s.load for s in some}) > 1}


def plot_loads(results: ResultFile, scenarios: Sequence[Scenario], path: Path) -> Path:
    """Draw percentiles of the first token over the load, with intervals, as PNG."""
    figure, axes = _figure(len(_SHOWN_POINTS))
    for system in (*BASELINES, OURS):
        for axis, point in zip(axes, _SHOWN_POINTS, strict=True):
            _draw_loads(axis, results, scenarios, system, point)
    for axis, point in zip(axes, _SHOWN_POINTS, strict=True):
        axis.set(yscale="log", xlabel="load, as a share of blocking's capacity", ylabel=_TTFT)
        axis.set_title(point.upper(), loc="left")
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=len(handles))
    figure.savefig(path, dpi=120)
    return path


def _draw_loads(
    axis: Any, results: ResultFile, scenarios: Sequence[Scenario], system: str, point: Point
) -> None:
    groups = {(g.key.scenario, g.key.policy): g for g in run_groups(results).values()}
    found = []
    for scenario in scenarios:
        group = groups.get((scenario.name, system))
        estimates = group.series("ttft_from_final_s").estimates([point]) if group else {}
        if point in estimates:
            found.append((scenario.load, estimates[point]))
    if not found:
        return
    values = [estimate.value for _, estimate in found]
    ends = [estimate.interval or (estimate.value,) * 2 for _, estimate in found]
    axis.errorbar(
        [load for load, _ in found],
        values,
        yerr=[
            [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
            [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
        ],
        marker="o",
        capsize=3,
        color=_COLOURS.get(system, _OTHER),
        label=system,
    )


def _figure(columns: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8 if columns == 1 else 5 * columns, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for axis in axes:
        axis.grid(which="both", alpha=0.3)
    return figure, axes


def _style(group: RunGroup) -> dict[str, Any]:
    key = group.key
    return {
        "label": key.system,
        "color": _COLOURS.get(key.policy, _OTHER),
        "linestyle": ":" if key.order == "rank" else "-",
        "linewidth": 2.4 if key.policy == OURS else 1.4,
    }


def _draw_ccdf(axis: Any, waits: Sequence[float], **style: Any) -> None:
    if waits:
        # The longest wait has a share of one query, so that a logarithmic axis can show it.
        shares = [1 - number / len(waits) for number in range(len(waits))]
        axis.step(sorted(waits), shares, **style)
