"""``stream2llm compare``: what became faster or slower from one result file to another."""

import json as json_module
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream2llm_bench.compare._changes import Change, Direction, compare_results
from stream2llm_bench.compare._likeness import likeness_warnings
from stream2llm_bench.report._markdown import MISSING
from stream2llm_bench.results import load_results
from stream2llm_rag.cli.errors import friendly_errors
from stream2llm_rag.cli.options import writable

__all__ = ["Change", "Direction", "compare_command", "compare_results", "likeness_warnings"]

_FILE_WIDTH = 160
_COLORS: dict[Direction, str] = {
    "faster": "green",
    "smaller": "green",
    "slower": "bold red",
    "larger": "bold red",
}


@friendly_errors
def compare_command(
    before: Annotated[Path, typer.Argument(help="Result file of `stream2llm bench`.")],
    after: Annotated[Path, typer.Argument(help="A later one.")],
    *,
    json: Annotated[Path | None, typer.Option(help="File for all changes, as JSON.")] = None,
    fail_on_slower: Annotated[
        bool, typer.Option("--fail-on-slower", help="Exit code 1 if a number got worse.")
    ] = False,
) -> None:
    """Compare two result files number by number.

    A number changed if the 95 % interval of after over before does not hold 1. Of a hundred numbers
    that did not change, five do that by chance.
    """
    path = writable(json, folder=False) if json else None
    results = load_results(before), load_results(after)
    changes, warnings = compare_results(*results), likeness_warnings(*results)
    console = _console()
    for warning in warnings:
        console.print(f"[yellow]not like with like:[/] {escape(warning)}", soft_wrap=True)
    console.print(_table(changes))
    console.print(_summary(changes), soft_wrap=True)
    if path is not None:
        figures = {"warnings": warnings, "changes": [change.model_dump() for change in changes]}
        path.write_text(json_module.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if fail_on_slower and any(change.worse for change in changes):
        raise typer.Exit(1)


def _console() -> Console:
    # Where there is no terminal, rich takes 80 columns: too few for the table.
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    return console


def _table(changes: list[Change]) -> Table:
    table = Table("Of", "Number")
    for name in ("Before", "After", "After / before", "95 % interval"):
        table.add_column(name, justify="right")
    table.add_column("Verdict")
    of = None
    for change in changes:
        if of not in {None, change.of}:
            table.add_section()
        color = _COLORS.get(change.verdict)
        table.add_row(
            "" if change.of == of else escape(change.of),
            f"{change.number}, {change.unit}",
            f"{change.before:,.4g}",
            f"{change.after:,.4g}",
            MISSING if change.ratio is None else f"{change.ratio:.3f}",
            _interval(change),
            f"[{color}]{change.verdict}[/]" if color else change.verdict,
        )
        of = change.of
    return table


def _interval(change: Change) -> str:
    if change.interval is None:
        return MISSING
    low, high = change.interval
    return f"{low:.3f}-{high:.3f}"


def _summary(changes: list[Change]) -> str:
    told = [change for change in changes if change.verdict != "cannot tell"]
    worse = sum(change.worse for change in told)
    better = sum(change.verdict in {"faster", "smaller"} for change in told)
    chance = len(told) / 20
    return (
        f"Of {len(told)} numbers {better} got better and {worse} got worse."
        f" Where nothing has changed, about {chance:.0f} seem to."
    )
