"""One request as it was served by several systems, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream2llm_bench.results import RequestTimeline

__all__ = ["Kind", "TimelineRow", "timeline", "timeline_rows"]

Kind: TypeAlias = Literal["wait", "retrieve", "prefill", "answer"]

_COLOURS: dict[Kind, str] = {
    "retrieve": "#bcd3e8",
    "prefill": "#e69f00",
    "wait": "#d55e00",
    "answer": "#009e73",
}
_WORDS: dict[Kind, str] = {
    "retrieve": "retrieval, part by part",
    "prefill": "sent part is computed",
    "wait": "context final, no token yet",
    "answer": "answer, from its first token on",
}
_HEIGHT: dict[Kind, float] = {"retrieve": 0.8, "prefill": 0.4, "wait": 0.8, "answer": 0.8}
_LABEL_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class TimelineRow:
    """One stretch of a request.

    Attributes:
        system: Who served it; each system has a lane of its own.
        label: Written on the stretch where there is room; may be empty.
        start_s: When it began, in seconds since the request arrived.
        end_s: When it ended.
        kind: What happened.
    """

    system: str
    label: str
    start_s: float
    end_s: float
    kind: Kind


def timeline_rows(timelines: Sequence[RequestTimeline]) -> list[TimelineRow]:
    """Return the stretches of requests as a result file has them."""
    return [row for one in timelines for row in _stretches(one)]


def timeline(events: list[TimelineRow], path: Path) -> Path:
    """Draw stretches as PNG, a lane for each system in order of appearance."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    lanes = list(dict.fromkeys(row.system for row in events))
    end_s = max((row.end_s for row in events), default=0.0)
    figure = Figure(figsize=(10, 1.6 + 0.6 * len(lanes)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for row in events:
        _draw(axis, row, lanes.index(row.system), room_s=_LABEL_SHARE * end_s)
    axis.set_yticks(range(len(lanes)), lanes)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("seconds since the query")
    handles = [Patch(color=color, label=_WORDS[kind]) for kind, color in _COLOURS.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), fontsize="small")
    figure.savefig(path, dpi=120)
    return path


def _stretches(one: RequestTimeline) -> list[TimelineRow]:
    arrivals = [0.0, *(at for at in one.arrivals_s if at < one.final_s), one.final_s]
    spans: list[tuple[Kind, float, float]] = [
        ("retrieve", begin, end) for begin, end in pairwise(arrivals)
    ]
    spans += [("prefill", begin, end) for begin, end in one.prefills_s]
    if one.token_s:
        spans += [
            ("wait", one.final_s, one.token_s[0]),
            ("answer", one.token_s[0], one.token_s[-1]),
        ]
    return [
        TimelineRow(system=one.policy, label="", start_s=begin, end_s=end, kind=kind)
        for kind, begin, end in spans
    ]


def _draw(axis: Any, row: TimelineRow, lane: int, *, room_s: float) -> None:
    height, length = _HEIGHT[row.kind], row.end_s - row.start_s
    color = _COLOURS[row.kind]
    span = (lane - height / 2, height)
    axis.broken_barh([(row.start_s, length)], span, color=color, edgecolor="white", lw=0.5)
    if row.kind == "answer":
        # An answer of one token has no length.
        axis.plot([row.start_s], [lane], marker="d", color=color, markeredgecolor="black")
    if row.label and length >= room_s:
        axis.text(row.start_s + length / 2, lane, row.label, ha="center", va="center", fontsize=8)
