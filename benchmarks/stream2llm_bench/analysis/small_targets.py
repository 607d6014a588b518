"""Kinds of targets for ordinary requests and for small measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream2llm_bench.analysis.ordinary import ordinary_groups
from stream2llm_bench.analysis.series import rows
from stream2llm_bench.analysis.statistics import percentile_estimates, percentile_ratios
from stream2llm_bench.analysis.verdict import Limit, Verdict, judged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_bench.analysis.statistics import Point
    from stream2llm_bench.results import MicroResult, ResultFile

__all__ = ["Micro", "MicroRatio", "OrdinaryInterToken", "OrdinaryThroughput"]


@dataclass(frozen=True, kw_only=True)
class OrdinaryThroughput:
    """Output tokens a second of ordinary requests beside stock vLLM."""

    limit: Limit

    def verdicts(self, results: ResultFile) -> list[Verdict]:
        """Judge it at every number of requests at a time."""
        name = "ordinary requests: tokens a second against stock vLLM"
        found = []
        for concurrency, systems in ordinary_groups(results).items():
            if len(systems) == 2:
                estimate = systems["stream2llm"].throughput_over(systems["stock"])
                full = f"{name}, {concurrency} at a time"
                found.append(judged(full, "times", self.limit, estimate))
        return found or [Verdict(name=name, unit="times", limit=self.limit)]


@dataclass(frozen=True, kw_only=True)
class OrdinaryInterToken:
    """Gaps between tokens of ordinary requests beside stock vLLM."""

    point: Point
    limit: Limit

    def verdicts(self, results: ResultFile) -> list[Verdict]:
        """Judge it at every number of requests at a time."""
        name = f"ordinary requests: between tokens {self.point.upper()} against stock vLLM"
        found = []
        for concurrency, systems in ordinary_groups(results).items():
            if len(systems) == 2:
                gaps = systems["stream2llm"].gaps().over(systems["stock"].gaps(), [self.point])
                full = f"{name}, {concurrency} at a time"
                found.append(judged(full, "times", self.limit, gaps.get(self.point)))
        return found or [Verdict(name=name, unit="times", limit=self.limit)]


@dataclass(frozen=True, kw_only=True)
class Micro:
    """The median of a small measurement.

    Attributes:
        name: Its name in the result file; of several entries the worst one counts.
        label: What it is, in words.
        unit: Unit of the limit.
        factor: Unit of the result file in that unit.
        limit: What the median should be.
    """

    name: str
    label: str
    unit: str
    factor: float
    limit: Limit

    def verdicts(self, results: ResultFile) -> list[Verdict]:
        """Judge it."""
        entry = _worst(results, self.name)
        estimate = None
        if entry is not None:
            estimate = percentile_estimates([rows(entry.samples)], ["p50"])["p50"]
            estimate = estimate.times(self.factor)
        return [judged(self.label, self.unit, self.limit, estimate)]


@dataclass(frozen=True, kw_only=True)
class MicroRatio:
    """The median of a small measurement over that with other parameters.

    Attributes:
        name: Its name in the result file.
        label: What it is, in words.
        over: Parameters of what stands above the line.
        under: Parameters of what stands below it.
        limit: What the ratio should be.
    """

    name: str
    label: str
    over: Mapping[str, float | str] = field(hash=False)
    under: Mapping[str, float | str] = field(hash=False)
    limit: Limit

    def verdicts(self, results: ResultFile) -> list[Verdict]:
        """Judge it."""
        over, under = (_worst(results, self.name, which) for which in (self.over, self.under))
        estimate = None
        if over is not None and under is not None:
            samples = [rows(over.samples)], [rows(under.samples)]
            estimate = percentile_ratios(*samples, ["p50"], paired=[False]).get("p50")
        return [judged(self.label, "times", self.limit, estimate)]


def _worst(
    results: ResultFile, name: str, parameters: Mapping[str, float | str] | None = None
) -> MicroResult | None:
    wanted = (parameters or {}).items()
    found = [
        entry
        for entry in results.micro
        if entry.name == name and entry.samples and wanted <= entry.parameters.items()
    ]
    return max(found, key=lambda entry: entry.median, default=None)
