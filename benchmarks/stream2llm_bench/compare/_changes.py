"""Two result files, number by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from stream2llm_bench.analysis.flat import parameters_text
from stream2llm_bench.analysis.groups import Figure, Measure, RunGroup, run_groups
from stream2llm_bench.analysis.ordinary import ordinary_groups
from stream2llm_bench.analysis.series import Series, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream2llm_bench.analysis.statistics import Estimate
    from stream2llm_bench.results import MicroResult, ResultFile

__all__ = ["Change", "Direction", "compare_results", "micro_entries"]

Direction: TypeAlias = Literal[
    "faster", "slower", "smaller", "larger", "no change beyond noise", "cannot tell"
]

_RATE = "tokens/s"
_TIME = "s"
_MEASURES: dict[Measure, str] = {
    "ttft_from_final_s": "TTFT from final context",
    "time_to_first_token_s": "query to first token",
    "inter_token_s": "between tokens",
}
_FIGURES: dict[Figure, tuple[str, str]] = {
    "completion_s": ("completion", _TIME),
    "throughput_tokens_s": ("throughput", _RATE),
    "peak_memory_mib": ("peak memory", "MiB"),
}


class Change(BaseModel):
    """What became of one number.

    Attributes:
        of: Whose number it is: scenario and system, ordinary requests, or a small measurement.
        number: Which one.
        unit: Its unit.
        before: The number in the first file, median over the seeds or repetitions.
        after: The number in the second file.
        ratio: After over before, median over the seeds or repetitions that both have; ``None``
            where that is no finite number.
        interval: Ends of the 95 % interval of the ratio; ``None`` where one repetition of each
            says nothing about it.
        verdict: What the interval says.
    """

    model_config = ConfigDict(frozen=True)

    of: str
    number: str
    unit: str
    before: float
    after: float
    ratio: float | None
    interval: tuple[float, float] | None
    verdict: Direction

    @property
    def worse(self) -> bool:
        """Whether it got worse, beyond noise."""
        return self.verdict in {"slower", "larger"}


def compare_results(before: ResultFile, after: ResultFile) -> list[Change]:
    """Compare what two files have in common.

    The interval of a number ends before 1 by chance in one case of twenty, so of many numbers some
    seem to change. Look for those that change together.
    """
    return [*_runs(before, after), *_ordinary(before, after), *_micro(before, after)]


def micro_entries(results: ResultFile) -> dict[str, MicroResult]:
    """Return the small measurements of a file by name and parameters; none without samples."""
    return {
        f"{entry.name} ({parameters_text(entry.parameters)})".removesuffix(" ()"): entry
        for entry in results.micro
        if entry.samples
    }


def _runs(before: ResultFile, after: ResultFile) -> Iterator[Change]:
    later = run_groups(after)
    for key, group in run_groups(before).items():
        if key in later:
            of = f"{key.scenario}: {key.system}"
            yield from _sampled_changes(of, group, later[key])
            for figure, (words, unit) in _FIGURES.items():
                values = (group.estimate(figure), later[key].estimate(figure))
                yield from _change(of, words, unit, *values, later[key].ratio(figure, group))


def _sampled_changes(of: str, before: RunGroup, after: RunGroup) -> Iterator[Change]:
    for measure, words in _MEASURES.items():
        yield from _percentiles(of, words, before.series(measure), after.series(measure))


def _percentiles(of: str, words: str, before: Series, after: Series) -> Iterator[Change]:
    first, second, ratios = before.estimates(), after.estimates(), after.over(before)
    for point in first:
        yield from _change(
            of,
            f"{words} {point.upper()}",
            _TIME,
            first[point],
            second.get(point),
            ratios.get(point),
        )


def _ordinary(before: ResultFile, after: ResultFile) -> Iterator[Change]:
    later = ordinary_groups(after)
    for concurrency, systems in ordinary_groups(before).items():
        for system, group in systems.items():
            its = later.get(concurrency, {}).get(system)
            if its is not None:
                of = f"ordinary requests: {system}, {concurrency} at a time"
                values = (group.throughput(), its.throughput())
                yield from _change(of, "throughput", _RATE, *values, its.throughput_over(group))
                yield from _percentiles(of, "between tokens", group.gaps(), its.gaps())


def _micro(before: ResultFile, after: ResultFile) -> Iterator[Change]:
    later = micro_entries(after)
    for name, entry in micro_entries(before).items():
        if name in later:
            first, second = (
                Series(repetitions={0: rows(one.samples)}) for one in (entry, later[name])
            )
            yield from _change(
                name,
                "median",
                entry.unit,
                first.estimates(["p50"])["p50"],
                second.estimates(["p50"])["p50"],
                second.over(first, ["p50"]).get("p50"),
            )


def _change(
    of: str,
    number: str,
    unit: str,
    before: Estimate | None,
    after: Estimate | None,
    ratio: Estimate | None,
) -> Iterator[Change]:
    """Give the change where both files have the number."""
    if before is None or after is None:
        return
    if min(before.value, after.value) <= 0.0:
        # Differences of times may be below zero, and then a ratio says nothing.
        ratio = None
    yield Change(
        of=of,
        number=number,
        unit=unit,
        before=before.value,
        after=after.value,
        ratio=ratio.value if ratio else None,
        interval=ratio.interval if ratio else None,
        verdict=_verdict(ratio, unit),
    )


def _verdict(ratio: Estimate | None, unit: str) -> Direction:
    if ratio is None or ratio.interval is None:
        return "cannot tell"
    low, high = ratio.interval
    if low <= 1.0 <= high:
        return "no change beyond noise"
    grew = low > 1.0
    if unit == _RATE:
        return "faster" if grew else "slower"
    if unit == _TIME:
        return "slower" if grew else "faster"
    return "larger" if grew else "smaller"
