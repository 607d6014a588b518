"""Numbers and tables as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream2llm_bench.analysis.statistics import Estimate

__all__ = ["MISSING", "estimated", "number", "table"]

MISSING = "-"


def number(value: float | None) -> str:
    """Return a number with three or four digits; those of limits near 1 need the fourth."""
    if value is None:
        return MISSING
    size = abs(float(f"{value:.3g}"))
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 2 else 3
    return f"{value:,.{digits}f}"


def estimated(estimate: Estimate | None) -> str:
    """Return an estimate, its interval in parentheses."""
    if estimate is None:
        return MISSING
    if estimate.interval is None:
        return number(estimate.value)
    low, high = map(number, estimate.interval)
    return f"{number(estimate.value)} ({low}-{high})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
