"""A result file as a report, and as the performance section of the README.

python -m stream2llm_bench.report FILE [--readme README.md] [--out DIRECTORY]
"""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream2llm_bench.report._readme import BEGIN, END, performance_section, refresh_readme
from stream2llm_bench.report._scenario import scenario_section
from stream2llm_bench.report._small import (
    SCOPE,
    capacity_section,
    environment_section,
    micro_section,
    ordinary_section,
)
from stream2llm_bench.report._targets import print_targets, targets_table
from stream2llm_bench.report.plots import loads, plot_ccdf, plot_loads
from stream2llm_bench.report.timeline import timeline, timeline_rows
from stream2llm_bench.results import ResultFile, load_results
from stream2llm_rag.cli.errors import CommandError, friendly_errors, require_extras
from stream2llm_rag.cli.options import writable

__all__ = [
    "BEGIN",
    "END",
    "main",
    "performance_section",
    "print_targets",
    "refresh_readme",
    "write_report",
]

_NAME = "report.md"


def write_report(results: ResultFile, directory: Path) -> Path:
    """Write ``report.md`` and its pictures.

    Args:
        results: What was measured; parts that are missing are reported as that.
        directory: Where to; it exists.

    Returns:
        Path of the report.
    """
    sections = [
        "# What was measured",
        *_cautions(results),
        "## Targets",
        targets_table(results),
        *_scenarios(results, directory),
        *_loads(results, directory),
        *_timeline(results, directory),
        capacity_section(results),
        ordinary_section(results),
        micro_section(results),
        environment_section(results),
        SCOPE,
    ]
    path = directory / _NAME
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return path


def _cautions(results: ResultFile) -> list[str]:
    cautions = []
    if results.quick:
        cautions.append("**Short form**: one seed and short traces, whose tails mean little.")
    if not results.complete:
        cautions.append(f"**Not complete**: `{results.command}` goes on where it stopped.")
    return cautions


def _scenarios(results: ResultFile, directory: Path) -> list[str]:
    sections = []
    for scenario in results.scenarios:
        picture = plot_ccdf(results, scenario.name, directory / f"ttft-{scenario.name}.png")
        sections.append(scenario_section(results, scenario, picture.name))
    return sections


def _loads(results: ResultFile, directory: Path) -> list[str]:
    pictures = [
        plot_loads(results, scenarios, directory / f"load-{workload}.png")
        for workload, scenarios in loads(results).items()
    ]
    shown = [f"![First token over load]({picture.name})" for picture in pictures]
    return ["## First token over load", *shown] if shown else []


def _timeline(results: ResultFile, directory: Path) -> list[str]:
    if not results.timelines:
        return []
    picture = timeline(timeline_rows(results.timelines), directory / "timeline.png")
    about = (
        "A query of median length from the middle of the first trace. Between the final context and"
        " the first token it waits for its turn, and for what is left to compute."
    )
    shown = f"![One request as each system served it]({picture.name})"
    return ["## One request", about, shown]


@friendly_errors
def main(
    file: Annotated[Path, typer.Argument(help="Result file of `stream2llm bench`.")],
    readme: Annotated[
        Path | None, typer.Option(help="README whose performance section is refreshed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes; without it, beside the file.")
    ] = None,
) -> None:
    """Write the report of a result file."""
    require_extras("matplotlib")
    results = load_results(file)
    if readme is not None and (results.quick or not results.complete):
        msg = f"{file} is not a complete full run, which is what a README shows: leave out --readme"
        raise CommandError(msg)
    report = write_report(results, writable(out or file.parent, folder=True))
    console = Console()
    console.print(f"report: {report}")
    if readme is not None:
        # The README is read from where it stands.
        link = Path(os.path.relpath(report, readme.parent)).as_posix()
        refresh_readme(readme, performance_section(results, report=link))
        console.print(f"refreshed: {readme}")
