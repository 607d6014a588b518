"""The result as pictures."""

from pathlib import Path
from typing import Any

from stream2llm_rag.cli._simulate._bounds import bounds
from stream2llm_rag.cli._simulate._capacity import Capacity
from stream2llm_rag.cli._simulate._plan import Plan
from stream2llm_rag.cli._simulate._run import Measured
from stream2llm_rag.cli._simulate._tables import variants, workload_line

__all__ = ["save_capacity", "save_ccdf"]

_TTFT = "seconds from final context to first token"
_LINES = {None: "-", "stable": "-", "rank": ":"}


def save_ccdf(plan: Plan, measured: list[Measured], folder: Path) -> Path:
    """Draws the share of queries that wait at least so long, all seeds together."""
    figure, axis = _axis(f"Simulated: {workload_line(plan, plan.source.qps)}")
    colours: dict[tuple[str, str | None], str] = {}
    for group in variants(measured):
        run = group[0].run
        colour = colours.setdefault((run.policy, run.preemption), f"C{len(colours)}")
        waits = [wait for one in group for wait in one.outcome.ttft_from_final_s.values()]
        _draw_ccdf(axis, waits, label=plan.label(run), color=colour, linestyle=_LINES[run.order])
    for order, waits in bounds(measured).items():
        label = f"idle machine, {order}" if order else "idle machine"
        colour = "grey" if order == "rank" else "black"
        _draw_ccdf(axis, waits, label=label, color=colour, linestyle="--")
    axis.set(xscale="log", yscale="log", xlabel=_TTFT, ylabel="share of queries that wait so long")
    axis.legend()
    return _save(figure, folder / "ttft_ccdf.png")


def save_capacity(plan: Plan, found: list[Capacity], folder: Path) -> Path:
    """Draws the percentiles with a limit over the number of tenants."""
    goal = found[0].goal
    qps = f"{goal.tenant_qps:g} queries/s a tenant"
    figure, axis = _axis(f"Simulated: {workload_line(plan, None)}, {qps}")
    for number, capacity in enumerate(found):
        points = sorted(capacity.points, key=lambda point: point.tenants)
        tenants = [point.tenants for point in points]
        for name, style in zip(goal.limits(), ("o-", "s:"), strict=False):
            waits = [point.ttft_from_final_s[name] for point in points]
            label = f"{plan.label(capacity.run)} {name.upper()}"
            axis.plot(tenants, waits, style, color=f"C{number}", label=label)
    for name, limit_s in goal.limits().items():
        axis.axhline(limit_s, color="black", linestyle="--", label=f"limit on {name.upper()}")
    axis.set(xscale="log", yscale="log", xlabel="tenants", ylabel=_TTFT)
    axis.legend()
    return _save(figure, folder / "capacity.png")


def _axis(title: str) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.set_title(title, loc="left", fontsize="medium")
    axis.grid(which="both", alpha=0.3)
    return figure, axis


def _draw_ccdf(axis: Any, waits: list[float], **style: Any) -> None:
    # The longest wait has a share of one query, so that it can be seen on a logarithmic axis.
    shares = [1 - number / len(waits) for number in range(len(waits))]
    axis.step(sorted(waits), shares, **style)


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=120)
    return path
