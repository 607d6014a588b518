"""The result as a picture: retrieval, prefill and decoding of every user."""

from pathlib import Path
from typing import Any

from stream2llm_rag.cli._demo._result import DemoResult, Turn

__all__ = ["save_timeline"]

_COLOURS = {"retrieval": "#c9d7e8", "prefill": "#e8833a", "decode": "#3a9e5c"}
_ARRIVAL = "#38618c"
_BAR = {"retrieval": 0.8, "prefill": 0.45, "decode": 0.8}


def save_timeline(result: DemoResult, path: Path) -> None:
    """Writes the picture as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    users = result.settings.users
    figure = Figure(figsize=(11, 2.2 + 0.7 * users), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    for axis, turns in zip(axes, (result.blocking, result.streaming), strict=True):
        for turn in turns:
            _draw(axis, turn)
        axis.set_title(turns[0].mode, loc="left")
        axis.set_yticks(range(users), [f"user {user + 1}" for user in range(users)])
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    axes[1].set_xlabel("seconds")
    handles: list[Any] = [Patch(color=colour, label=kind) for kind, colour in _COLOURS.items()]
    handles.append(Line2D([], [], color=_ARRIVAL, marker="|", linestyle="", label="page arrives"))
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    figure.suptitle(
        f"Page arrivals replayed: published crawl gaps times {result.settings.time_scale:g}",
        x=0.01,
        ha="left",
        fontsize="medium",
    )
    figure.savefig(path, dpi=120)


def _draw(axis: Any, turn: Turn) -> None:
    final = turn.asked_s + turn.timing.retrieval_s
    first_token = turn.asked_s + turn.timing.time_to_first_token_s
    last_token = turn.asked_s + turn.timing.total_s
    spans = {
        "retrieval": [(turn.asked_s, final)],
        "prefill": [*turn.prefills_s, (final, first_token)],
        "decode": [(first_token, last_token)],
    }
    for kind, stretches in spans.items():
        height = _BAR[kind]
        bars = [(start, end - start) for start, end in stretches]
        axis.broken_barh(bars, (turn.user - height / 2, height), color=_COLOURS[kind])
    axis.plot(turn.arrivals_s, [turn.user] * len(turn.arrivals_s), "|", color=_ARRIVAL, ms=9)
