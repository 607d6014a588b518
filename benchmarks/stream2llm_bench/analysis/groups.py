"""Runs that differ only in the seed of their traffic, as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from stream2llm_bench.analysis.series import Series, rows
from stream2llm_bench.analysis.statistics import Estimate, repeated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_bench.results import ResultFile, RunResult

__all__ = [
    "Figure",
    "Measure",
    "RunGroup",
    "RunKey",
    "answered",
    "bound_series",
    "counterpart",
    "run_groups",
]

Measure: TypeAlias = Literal["ttft_from_final_s", "time_to_first_token_s", "inter_token_s"]
"""What a run has many samples of."""

Figure: TypeAlias = Literal["completion_s", "throughput_tokens_s", "peak_memory_mib", "cpu_s"]
"""What a run has one number of."""


class RunKey(NamedTuple):
    """What the runs of a group have in common."""

    scenario: str
    policy: str
    preemption: str | None
    order: str | None

    @property
    def system(self) -> str:
        """The system in words; of preemption only what is not the default."""
        parts = (self.policy, self.order, self.preemption if self.preemption != "auto" else None)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """One system on one scenario, seed by seed.

    Attributes:
        key: What was run.
        runs: One for each seed.
    """

    key: RunKey
    runs: tuple[RunResult, ...]

    @property
    def failed(self) -> int:
        """Queries without an answer, over all seeds."""
        return sum(run.failed for run in self.runs)

    def samples(self, measure: Measure) -> list[float]:
        """Return the samples of all seeds together."""
        return [value for run in self.runs for value in run.samples.get(measure, ())]

    def series(self, measure: Measure) -> Series:
        """Return the samples by seed; seeds without an answer are missing."""
        return Series(
            repetitions={
                run.seed: rows(run.samples[measure], answered(run))
                for run in self.runs
                if run.samples.get(measure)
            },
            whole=frozenset(run.seed for run in self.runs if not run.failed),
        )

    def estimate(self, figure: Figure) -> Estimate | None:
        """Estimate a number that every run has one of, of the runs with answers."""
        return repeated([getattr(run, figure) for run in self.runs if answered(run)])

    def ratio(self, figure: Figure, other: RunGroup) -> Estimate | None:
        """Estimate such a number over that of another group, on the same seeds."""
        its = {run.seed: getattr(run, figure) for run in other.runs if answered(run)}
        return repeated(
            [
                getattr(run, figure) / its[run.seed]
                for run in self.runs
                if answered(run) and its.get(run.seed)
            ]
        )


def run_groups(results: ResultFile) -> dict[RunKey, RunGroup]:
    """Return the runs of a file by what was run, in the order of the file."""
    found: dict[RunKey, list[RunResult]] = {}
    for run in results.runs:
        key = RunKey(run.scenario, run.policy, run.preemption, run.order)
        found.setdefault(key, []).append(run)
    return {key: RunGroup(key=key, runs=tuple(runs)) for key, runs in found.items()}


def counterpart(groups: Mapping[RunKey, RunGroup], group: RunGroup, policy: str) -> RunGroup | None:
    """Return what another system did on the same scenario, in the same order if it has that."""
    same = [
        other
        for key, other in groups.items()
        if (key.scenario, key.policy) == (group.key.scenario, policy)
    ]
    return min(same, key=lambda other: other.key.order != group.key.order, default=None)


def bound_series(results: ResultFile, scenario: str, order: str | None) -> Series:
    """Return the first tokens on a machine with nothing else to do, by seed."""
    found = {
        bound.seed: bound
        for bound in results.bounds
        if (bound.scenario, bound.order) == (scenario, order) and bound.samples
    }
    return Series(
        repetitions={seed: rows(bound.samples) for seed, bound in found.items()},
        whole=frozenset(seed for seed, bound in found.items() if bound.stride == 1),
    )


def answered(run: RunResult) -> int:
    """Return how many queries of a run have an answer."""
    return len(run.samples.get("ttft_from_final_s", ()))
