"""A scenario as a section of the report."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from stream2llm_bench.analysis.groups import (
    RunGroup,
    answered,
    bound_series,
    counterpart,
    run_groups,
)
from stream2llm_bench.analysis.statistics import POINTS
from stream2llm_bench.report._markdown import MISSING, estimated, number, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stream2llm_bench.analysis.groups import RunKey
    from stream2llm_bench.analysis.series import Series
    from stream2llm_bench.results import ResultFile, RunResult, Scenario

__all__ = ["IDLE_MACHINE", "scenario_section"]

IDLE_MACHINE = "idle machine (bound)"

_REFERENCE = "blocking"
_NAMES = [point.upper() for point in POINTS]
_WORKLOADS = {
    "crawler": "documents are appended as they are found",
    "anns": "ranked lists replace each other",
}


def scenario_section(results: ResultFile, scenario: Scenario, picture: str) -> str:
    """Return the section.

    Args:
        results: The file.
        scenario: One of its scenarios.
        picture: Path of the picture of its first tokens, relative to the report.
    """
    groups = {key: g for key, g in run_groups(results).items() if key.scenario == scenario.name}
    parts = [f"## {scenario.name}", _traffic(scenario, list(groups.values()))]
    if not groups:
        return "\n\n".join([*parts, "Not played yet."])
    parts += [
        "Seconds from the final context to the first token:",
        _first_token(results, scenario, groups),
        *_speed(results, scenario, groups),
        f"![Share of queries that wait so long]({picture})",
        "Seconds from the query to the first token, retrieval included"
        + (", and between tokens of an answer:" if _has_gaps(groups) else ":"),
        _since_query(groups),
        "What it took:",
        _work(groups),
    ]
    notes = [
        f"- {group.key.system}, seed {run.seed}: {run.note}"
        for group in groups.values()
        for run in group.runs
        if run.note
    ]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def _traffic(scenario: Scenario, groups: Sequence[RunGroup]) -> str:
    pool = f"{scenario.pool_tokens:,} tokens"
    if scenario.pool_share is not None:
        pool += f", {scenario.pool_share:.0%} of what open sessions hold"
    seeds = sorted({run.seed for group in groups for run in group.runs})
    rates = sorted(run.qps for group in groups for run in group.runs) or [scenario.qps]
    arrive = " to ".join(dict.fromkeys((number(rates[0]), number(rates[-1]))))
    answers = "1 token" if scenario.output_tokens == 1 else f"{scenario.output_tokens} tokens"
    return (
        f"Workload `{scenario.workload}`: {_WORKLOADS[scenario.workload]}. Load"
        f" {scenario.load:.0%} of what blocking can answer, {arrive} queries/s."
        f" {scenario.queries} queries a trace, seeds {', '.join(map(str, seeds)) or MISSING}."
        f" KV pool: {pool}. Answers of {answers}."
    )


def _speed(results: ResultFile, scenario: Scenario, groups: Mapping[RunKey, RunGroup]) -> list[str]:
    """Return how fast the machine was when it was played, where that can be told.

    Answers of several tokens share steps, the more of them there are at once.
    """
    drains = {c.seed: c.drain_s for c in results.capacity if c.scenario == scenario.name}
    slower = [
        run.busy_s / drains[run.seed]
        for group in groups.values()
        if group.key.system == _REFERENCE
        for run in group.runs
        if run.busy_s and run.seed in drains
    ]
    if not slower or scenario.output_tokens > 1:
        return []
    times = ", ".join(f"{ratio:.2f}" for ratio in slower)
    told = (
        f"While `{_REFERENCE}` was played, the machine computed its prompts in {times} times the"
        " seconds that it took when capacity was measured, seed by seed. Times the load, that is"
        " the load that was really played."
    )
    return [told]


def _first_token(results: ResultFile, scenario: Scenario, groups: dict[RunKey, RunGroup]) -> str:
    lines = [
        _first_token_line(
            group.key.system,
            group.series("ttft_from_final_s"),
            None if group.key.policy == _REFERENCE else counterpart(groups, group, _REFERENCE),
        )
        for group in groups.values()
    ]
    # Each order has its own bound, because prompts differ.
    for order, group in {key.order: group for key, group in groups.items()}.items():
        name = f"{IDLE_MACHINE}, {order}" if order else IDLE_MACHINE
        idle = bound_series(results, scenario.name, order)
        lines.append(_first_token_line(name, idle, counterpart(groups, group, _REFERENCE)))
    header = ["system", *_NAMES, *(f"{name}, times lower than {_REFERENCE}" for name in _NAMES)]
    return table(header, lines)


def _first_token_line(name: str, series: Series, reference: RunGroup | None) -> list[str]:
    found = series.estimates()
    ratios = reference.series("ttft_from_final_s").over(series) if reference else {}
    return [name, *(estimated(some.get(point)) for some in (found, ratios) for point in POINTS)]


def _has_gaps(groups: dict[RunKey, RunGroup]) -> bool:
    return any(group.samples("inter_token_s") for group in groups.values())


def _since_query(groups: dict[RunKey, RunGroup]) -> str:
    gaps = _has_gaps(groups)
    lines = []
    for group in groups.values():
        first = group.series("time_to_first_token_s").estimates()
        line = [group.key.system, *(estimated(first.get(point)) for point in POINTS)]
        if gaps:
            between = group.series("inter_token_s").estimates()
            line += [estimated(between.get(point)) for point in POINTS]
        lines.append(line)
    between_names = [f"between tokens {name}" for name in _NAMES] if gaps else []
    return table(["system", *_NAMES, *between_names], lines)


def _work(groups: dict[RunKey, RunGroup]) -> str:
    header = [
        "system",
        "completion, s",
        "tokens/s",
        "tokens computed",
        "wasted",
        "preemptions",
        "blocks evicted",
        "memory, MiB",
        "CPU, s",
        "failed",
    ]
    return table(header, [_work_line(group) for group in groups.values()])


def _work_line(group: RunGroup) -> list[str]:
    queries = sum(run.failed + answered(run) for run in group.runs)
    return [
        group.key.system,
        estimated(group.estimate("completion_s")),
        estimated(group.estimate("throughput_tokens_s")),
        _middle(group, lambda run: run.tokens_computed),
        _share(group),
        _preemptions(group),
        _middle(group, lambda run: run.evicted_blocks),
        _middle(group, lambda run: run.peak_memory_mib),
        _middle(group, lambda run: run.cpu_s),
        f"{group.failed} of {queries}" if group.failed else "0",
    ]


def _middle(group: RunGroup, of: Callable[[RunResult], float | None]) -> str:
    known = [value for run in group.runs if answered(run) and (value := of(run)) is not None]
    return f"{median(known):,.0f}" if known else MISSING


def _share(group: RunGroup) -> str:
    shares = [
        run.tokens_wasted / run.tokens_computed
        for run in group.runs
        if run.tokens_wasted is not None and run.tokens_computed
    ]
    return f"{median(shares):.1%}" if shares else MISSING


def _preemptions(group: RunGroup) -> str:
    counted = [run.preemptions for run in group.runs if run.preemptions is not None]
    if not counted:
        return MISSING
    kinds = dict.fromkeys(kind for counts in counted for kind in counts)
    medians = {kind: median(counts.get(kind, 0) for counts in counted) for kind in kinds}
    return ", ".join(f"{kind} {count:,.0f}" for kind, count in medians.items() if count) or "0"
