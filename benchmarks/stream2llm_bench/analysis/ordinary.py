"""Repetitions of ordinary traffic, as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream2llm_bench.analysis.series import Series, rows
from stream2llm_bench.analysis.statistics import Estimate, repeated

if TYPE_CHECKING:
    from stream2llm_bench.results import ResultFile, TrafficResult

__all__ = ["OrdinaryGroup", "ordinary_groups"]


@dataclass(frozen=True, kw_only=True)
class OrdinaryGroup:
    """One system at one number of requests at a time.

    Attributes:
        runs: One for each repetition; systems took turns.
    """

    runs: tuple[TrafficResult, ...]

    def gaps(self) -> Series:
        """Return the gaps between the tokens of answers."""
        return Series(
            repetitions={run.repeat: rows(run.samples) for run in self.runs if run.samples}
        )

    def throughput(self) -> Estimate | None:
        """Estimate output tokens a second."""
        return repeated([run.throughput_tokens_s for run in self.runs])

    def throughput_over(self, other: OrdinaryGroup) -> Estimate | None:
        """Estimate output tokens a second over those of another one, turn by turn."""
        its = {run.repeat: run.throughput_tokens_s for run in other.runs}
        return repeated(
            [run.throughput_tokens_s / its[run.repeat] for run in self.runs if its.get(run.repeat)]
        )


def ordinary_groups(results: ResultFile) -> dict[int, dict[str, OrdinaryGroup]]:
    """Return the repetitions by requests at a time, then by system."""
    found: dict[int, dict[str, list[TrafficResult]]] = {}
    for run in results.traffic:
        found.setdefault(run.concurrency, {}).setdefault(run.system, []).append(run)
    return {
        concurrency: {system: OrdinaryGroup(runs=tuple(runs)) for system, runs in systems.items()}
        for concurrency, systems in found.items()
    }
