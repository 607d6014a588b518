"""Simulated beside published, as tables."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich.table import Table

from stream2llm_bench.studies.calibrate_profiles import is_calibration_row
from stream2llm_bench.studies.published import PREEMPTIONS, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from stream2llm_bench.studies.knob_curve import KnobResult
    from stream2llm_bench.studies.paper_tables import RunResult
    from stream2llm_bench.studies.published import PublishedRow

__all__ = ["Comparison", "compared", "print_accuracy", "print_knobs", "print_settings"]

_PERCENTILES = ("P50", "P95", "P99")


class Comparison(NamedTuple):
    """One published number and its simulation.

    Attributes:
        row: The published run.
        percentile: ``"P50"``, ``"P95"`` or ``"P99"``.
        error: Simulated over published, less one.
        fitted: Whether a profile or a workload was fitted to the number.
    """

    row: PublishedRow
    percentile: str
    error: float
    fitted: bool


def compared(results: Sequence[RunResult]) -> list[Comparison]:
    """Compare every published number that was simulated."""
    found = []
    for result in results:
        row = _published(result)
        if row is None:
            continue
        for index, percentile in enumerate(_PERCENTILES):
            error = result.ttft_s[index] / row.percentiles[index] - 1.0
            fitted = percentile == "P50" and (is_calibration_row(row) or is_knob_row(row))
            found.append(Comparison(row, percentile, error, fitted))
    return found


def is_knob_row(row: PublishedRow) -> bool:
    """Return whether the P50 of the run is what the update workload's knobs are fitted to."""
    fitted_to = ("H200", "anns", 1, "fcfs")
    return (row.hardware, row.workload, row.delay, row.policy) == fitted_to and row.qps <= 0.5


def print_settings(console: Console, results: Sequence[RunResult]) -> None:
    """Print one table for each machine, trace and factor on its delays."""
    errors = {(c.row, c.percentile): c for c in compared(results)}

    def setting(result: RunResult) -> tuple[str, str, int]:
        return (result.hardware, result.traffic.workload, result.traffic.delay)

    ordered = sorted(results, key=lambda r: (*setting(r), r.traffic.qps))
    for (hardware, workload, delay), group in groupby(ordered, key=setting):
        title = f"{hardware}, {workload}" + (f", delays x{delay}" if delay > 1 else "")
        table = Table(title=f"{title}: TTFT in s, simulated / published", title_justify="left")
        for name in ("QPS", "Policy", *_PERCENTILES, "Preemptions"):
            table.add_column(name, justify="left" if name == "Policy" else "right")
        for result in group:
            row = _published(result)
            cells = [
                _cell(seconds, None if row is None else errors[row, name], index, row)
                for index, (name, seconds) in enumerate(
                    zip(_PERCENTILES, result.ttft_s, strict=True)
                )
            ]
            table.add_row(f"{result.traffic.qps:g}", _label(result), *cells, _preemptions(result))
        console.print(table)
    console.print("* fitted to this number; + the published number is derived from a speed-up")


def print_accuracy(console: Console, results: Sequence[RunResult]) -> None:
    """Print how far the simulation is off where it was not fitted."""
    comparisons = compared(results)
    table = Table("Numbers", "Count", "Median absolute error", "Median error", "Within 25 %")
    for label, errors in _groups(comparisons):
        if errors:
            sizes = np.abs(errors)
            table.add_row(
                label,
                str(len(errors)),
                f"{np.median(sizes):.1%}",
                f"{np.median(errors):+.1%}",
                f"{np.mean(sizes <= 0.25):.0%}",
            )
    console.print(table)


def print_knobs(
    console: Console, curve: Sequence[KnobResult], published_ratios: Sequence[float]
) -> None:
    """Print what the knobs of the update workload do, and what is published."""
    table = Table(
        "Replacement rate",
        "Re-rank rate",
        "fcfs / blocking P50 at 0.25 QPS",
        "at 0.5 QPS",
        "Tokens invalidated, rank",
        "stable",
        title="Update workload, H200; invalidated tokens at 2 QPS",
    )
    for result in curve:
        table.add_row(
            f"{result.replacement_rate:g}",
            f"{min(1.0, 2 * result.replacement_rate):g}",
            *(f"{ratio:.2f}" for ratio in result.ratios),
            f"{result.invalidated['rank']:,}",
            f"{result.invalidated['stable']:,}",
        )
    table.add_row("published", "", *(f"{ratio:.2f}" for ratio in published_ratios), "", "")
    console.print(table)


def _groups(comparisons: list[Comparison]) -> Iterator[tuple[str, list[float]]]:
    yield "fitted to", [c.error for c in comparisons if c.fitted]
    others = [c for c in comparisons if not c.fitted]
    yield "all others", [c.error for c in others]
    for percentile in _PERCENTILES:
        errors = [c.error for c in others if c.percentile == percentile]
        yield f"others, {percentile}", errors
    for policy in ("blocking", "stock", "fcfs", "lcas", "mcps"):
        yield f"others, {policy}", [c.error for c in others if c.row.policy == policy]
    for workload in ("crawler", "anns"):
        for delayed in (False, True):
            errors = [
                c.error
                for c in others
                if c.row.workload == workload and (c.row.delay > 1) == delayed
            ]
            yield f"others, {workload}{', delayed' if delayed else ''}", errors


def _published(result: RunResult) -> PublishedRow | None:
    key = (result.hardware, *result.traffic, result.policy)
    return next((row for row in ROWS if row[:5] == key), None)


def _label(result: RunResult) -> str:
    ours = result.traffic.workload == "anns" and result.policy == "srpt"
    return f"{result.policy}, {result.order}" if ours else result.policy


def _cell(
    seconds: float, comparison: Comparison | None, index: int, row: PublishedRow | None
) -> str:
    if comparison is None or row is None:
        return f"{seconds:.3f}"
    marks = ("*" if comparison.fitted else "") + ("+" if row.derived else "")
    return f"{seconds:.3f} / {row.percentiles[index]:.3f}{marks} ({comparison.error:+.0%})"


def _preemptions(result: RunResult) -> str:
    if result.policy == "blocking" or result.traffic.delay == 1:
        return ""
    published = next(
        (row.preemptions for row in PREEMPTIONS if row[:4] == (*result.traffic, result.policy)),
        None,
    )
    count = f"{result.preemptions():,}"
    return count if published is None else f"{count} / {published:,}"
