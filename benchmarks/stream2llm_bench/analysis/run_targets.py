"""Kinds of targets for traffic that streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream2llm_bench.analysis.groups import RunGroup, RunKey, bound_series, counterpart, run_groups
from stream2llm_bench.analysis.statistics import repeated
from stream2llm_bench.analysis.verdict import Limit, Verdict, judged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_bench.analysis.groups import Measure
    from stream2llm_bench.analysis.series import Series
    from stream2llm_bench.analysis.statistics import Estimate, Point
    from stream2llm_bench.results import ResultFile

__all__ = ["OURS", "AgainstBaseline", "AgainstIdleMachine", "Completion"]

OURS = "srpt"
"""The policy that targets are about: the default."""

_WORDS = {"ttft_from_final_s": "first token", "inter_token_s": "between tokens"}


@dataclass(frozen=True, kw_only=True)
class AgainstBaseline:
    """A percentile beside that of a baseline on the same traffic.

    Attributes:
        scenario: The traffic.
        baseline: Beside whom.
        point: Which percentile.
        limit: With a lower end the value is how many times lower ours is, else ours in multiples.
        order: Order of documents; ``None`` for the append-only workload.
        measure: Of what.
    """

    scenario: str
    baseline: str
    point: Point
    limit: Limit
    order: str | None = None
    measure: Measure = "ttft_from_final_s"

    def verdicts(self, results: ResultFile) -> list[Verdict]:
        """Judge it."""
        lower = self.limit.at_least is not None
        where = f"{self.scenario}, {self.order} order" if self.order else self.scenario
        name = f"{where}: {_WORDS[self.measure]} {self.point.upper()} against {self.baseline}"
        unit = "times lower" if lower else "times"
        groups = run_groups(results)
        ours = _ours(groups, self.scenario, self.order)
        theirs = ours and counterpart(groups, ours, self.baseline)
        if ours is None or theirs is None:
            return [Verdict(name=name, unit=unit, limit=self.limit)]
        baseline = theirs.series(self.measure)
        estimate = _ratio(ours.series(self.measure), baseline, self.point, lower=lower)
        bound = None
        if self.measure == "ttft_from_final_s":
            idle = bound_series(results, self.scenario, self.order)
            bound = _ratio(idle, baseline, self.point, lower=lower)
        note = f"{theirs.failed} queries of {self.baseline} failed" if theirs.failed else None
        return [
            judged(name, unit, self.limit, estimate, bound=bound, failed=ours.failed, note=note)
        ]


@dataclass(frozen=True, kw_only=True)
class AgainstIdleMachine:
    """A percentile of the first token beside that of a machine with nothing else to do."""

    scenario: str
    point: Point
    limit: Limit

    def verdicts(self, results: ResultFile) -> list[Verdict]:
        """Judge it."""
        name = f"{self.scenario}: first token {self.point.upper()} against an idle machine"
        ours = _ours(run_groups(results), self.scenario, None)
        if ours is None:
            return [Verdict(name=name, unit="times", limit=self.limit)]
        idle = bound_series(results, self.scenario, None)
        estimate = _ratio(ours.series("ttft_from_final_s"), idle, self.point)
        bound = repeated([1.0]) if estimate else None
        return [judged(name, "times", self.limit, estimate, bound=bound, failed=ours.failed)]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """How long the whole trace takes beside a baseline, in every scenario of the file."""

    baseline: str
    limit: Limit

    def verdicts(self, results: ResultFile) -> list[Verdict]:
        """Judge it in every scenario."""
        groups = run_groups(results)
        found = []
        for scenario in dict.fromkeys(key.scenario for key in groups):
            ours = _ours(groups, scenario, None) or _ours(groups, scenario, "stable")
            theirs = ours and counterpart(groups, ours, self.baseline)
            if ours is not None and theirs is not None:
                estimate = ours.ratio("completion_s", theirs)
                name = self._name(scenario)
                found.append(judged(name, "times", self.limit, estimate, failed=ours.failed))
        return found or [Verdict(name=self._name("any scenario"), unit="times", limit=self.limit)]

    def _name(self, scenario: str) -> str:
        return f"{scenario}: completion against {self.baseline}"


def _ours(groups: Mapping[RunKey, RunGroup], scenario: str, order: str | None) -> RunGroup | None:
    wanted = (scenario, OURS, order)
    same = [g for key, g in groups.items() if (key.scenario, key.policy, key.order) == wanted]
    # Other preemption modes than the default are measured beside it, if at all.
    return min(same, key=lambda group: group.key.preemption != "auto", default=None)


def _ratio(ours: Series, theirs: Series, point: Point, *, lower: bool = False) -> Estimate | None:
    found = theirs.over(ours, [point]) if lower else ours.over(theirs, [point])
    return found.get(point)
