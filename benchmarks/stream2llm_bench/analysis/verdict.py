"""What a target says about a result file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream2llm_bench.analysis.statistics import Estimate

__all__ = ["Limit", "Verdict", "judged"]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The values that meet a target; without ends there is nothing to meet.

    Attributes:
        at_least: No value is smaller.
        at_most: No value is larger.
    """

    at_least: float | None = None
    at_most: float | None = None

    @property
    def text(self) -> str:
        """The limit in words."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    def holds(self, value: float) -> bool:
        """Return whether a value is within the limit."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A target and what was measured.

    Attributes:
        name: What the target is about.
        unit: Unit of the value.
        limit: What the value should be.
        estimate: What was measured; ``None`` where the file has no data.
        met: ``None`` where there is no data, or nothing to meet.
        bound: The value of a machine that had nothing else to do, where there is such a thing.
        note: What a reader should know about the value.
    """

    name: str
    unit: str
    limit: Limit
    estimate: Estimate | None = None
    met: bool | None = None
    bound: float | None = None
    note: str | None = None

    @property
    def value(self) -> float | None:
        """Median over the seeds or repetitions."""
        return self.estimate.value if self.estimate else None

    @property
    def by_seed(self) -> tuple[float, ...]:
        """The value of each of them."""
        return self.estimate.parts if self.estimate else ()

    @property
    def target(self) -> str:
        """The limit with its unit; empty where there is none."""
        return f"{self.limit.text} {self.unit}" if self.limit.text else ""


def judged(
    name: str,
    unit: str,
    limit: Limit,
    estimate: Estimate | None,
    *,
    bound: Estimate | None = None,
    failed: int = 0,
    note: str | None = None,
) -> Verdict:
    """Judge an estimate.

    Args:
        name: What the target is about.
        unit: Unit of the estimate.
        limit: What it should be.
        estimate: What was measured, if anything.
        bound: The same on a machine with nothing else to do.
        failed: Queries that our system did not answer: they are in no percentile, so a target is
            missed with them, whatever the others waited.
        note: What a reader should know.
    """
    if failed:
        note = f"{failed} queries failed" + (f"; {note}" if note else "")
    met = None
    if limit.text and (estimate or failed):
        met = not failed and estimate is not None and limit.holds(estimate.value)
    return Verdict(
        name=name,
        unit=unit,
        limit=limit,
        estimate=estimate,
        met=met,
        bound=bound.value if bound else None,
        note=note,
    )
