"""What the real engine should reach, and whether a result file shows that it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stream2llm_bench.analysis.run_targets import (
    OURS,
    AgainstBaseline,
    AgainstIdleMachine,
    Completion,
)
from stream2llm_bench.analysis.small_targets import (
    Micro,
    MicroRatio,
    OrdinaryInterToken,
    OrdinaryThroughput,
)
from stream2llm_bench.analysis.verdict import Limit, Verdict

if TYPE_CHECKING:
    from stream2llm_bench.analysis.statistics import Point
    from stream2llm_bench.results import ResultFile

__all__ = ["OURS", "TARGETS", "Limit", "Target", "Verdict", "judge"]


class Target(Protocol):
    """Something that the real engine should reach."""

    def verdicts(self, results: ResultFile) -> list[Verdict]:
        """Judge it: one verdict, or one for each part of the file that it is about."""


_SHOWN = Limit()


def _first_token(
    scenario: str, baseline: str, limits: dict[Point, Limit], order: str | None = None
) -> tuple[Target, ...]:
    return tuple(
        AgainstBaseline(scenario=scenario, baseline=baseline, point=point, limit=limit, order=order)
        for point, limit in limits.items()
    )


def _at_least(value: float) -> Limit:
    return Limit(at_least=value)


def _at_most(value: float) -> Limit:
    return Limit(at_most=value)


TARGETS: tuple[Target, ...] = (
    *_first_token(
        "crawler-high", "blocking", {"p50": _at_least(8), "p95": _at_least(6), "p99": _at_least(4)}
    ),
    *_first_token("crawler-high", "warmup", {"p50": _at_most(1.0), "p99": _at_most(0.7)}),
    *_first_token("crawler-pressure", "blocking", {"p99": _at_least(4)}),
    *_first_token("crawler-pressure", "warmup", {"p99": _at_least(2)}),
    *_first_token(
        "anns-high", "blocking", {"p50": _at_least(2.5), "p99": _at_least(1.5)}, "stable"
    ),
    AgainstIdleMachine(scenario="crawler-low", point="p50", limit=_at_most(1.15)),
    AgainstIdleMachine(scenario="crawler-low", point="p95", limit=_SHOWN),
    AgainstIdleMachine(scenario="crawler-low", point="p99", limit=_SHOWN),
    # No work is added: a trace takes as long as when everybody waits for the whole context.
    Completion(baseline="blocking", limit=_at_most(1.02)),
    AgainstBaseline(
        scenario="crawler-decode",
        baseline="blocking",
        point="p99",
        limit=_at_most(1.1),
        measure="inter_token_s",
    ),
    OrdinaryThroughput(limit=_at_least(0.97)),
    OrdinaryInterToken(point="p99", limit=_SHOWN),
    Micro(
        name="event_to_prefill_s",
        label="from an event to its prefill, median",
        unit="ms",
        factor=1e3,
        limit=_at_most(3),
    ),
    MicroRatio(
        name="active_step_s",
        label="step with 5000 idle sessions beside one with none, median",
        over={"idle_sessions": 5000},
        under={"idle_sessions": 0},
        limit=_at_most(1.2),
    ),
    Micro(
        name="idle_session_bytes",
        label="memory of an idle session, median",
        unit="KiB",
        factor=1 / 1024,
        limit=_at_most(15),
    ),
)


def judge(results: ResultFile) -> list[Verdict]:
    """Judge every target; those without data in the file have a verdict as well."""
    return [verdict for target in TARGETS for verdict in target.verdicts(results)]
