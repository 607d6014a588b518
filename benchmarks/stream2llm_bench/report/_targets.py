"""Targets and what was measured, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from stream2llm_bench.analysis.targets import judge
from stream2llm_bench.report._markdown import MISSING, estimated, number, table

if TYPE_CHECKING:
    from rich.console import Console

    from stream2llm_bench.analysis.targets import Verdict
    from stream2llm_bench.results import ResultFile

__all__ = ["print_targets", "targets_table"]

_COLORS = {"met": "green", "missed": "bold red"}


def targets_table(results: ResultFile, *, details: bool = True) -> str:
    """Return all targets as Markdown.

    Args:
        results: The file.
        details: Whether to show the value of each seed, and notes.
    """
    header = ["target", "wanted", "measured", "an idle machine", "verdict"]
    if details:
        header += ["by seed or repetition", "note"]
    lines = []
    for verdict in judge(results):
        line = _line(verdict)
        line[-1] = f"**{line[-1]}**" if verdict.met is False else line[-1]
        if details:
            line += [", ".join(map(number, verdict.by_seed)), verdict.note or ""]
        lines.append(line)
    return table(header, lines)


def print_targets(results: ResultFile, console: Console) -> None:
    """Print all targets, met and missed."""
    shown = Table("Target", "Wanted", "Measured", "Idle machine", "", title_justify="left")
    for verdict in judge(results):
        *cells, word = map(escape, _line(verdict))
        color = _COLORS.get(word)
        shown.add_row(*cells, f"[{color}]{word}[/]" if color else word)
    console.print(shown)


def _line(verdict: Verdict) -> list[str]:
    return [
        verdict.name,
        verdict.target or "no target",
        estimated(verdict.estimate),
        number(verdict.bound),
        _word(verdict),
    ]


def _word(verdict: Verdict) -> str:
    if verdict.met is not None:
        return "met" if verdict.met else "missed"
    return "no data" if verdict.value is None else MISSING
