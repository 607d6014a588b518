"""Whether two result files can be compared at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream2llm_bench.analysis.flat import flat
from stream2llm_bench.analysis.groups import run_groups
from stream2llm_bench.analysis.ordinary import ordinary_groups
from stream2llm_bench.compare._changes import micro_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from stream2llm_bench.results import ResultFile

__all__ = ["likeness_warnings"]

# Another version of this project is what a comparison is for.
_COMPARED = {"versions.stream2llm-rag"}
_ABSENT = "absent"


def likeness_warnings(before: ResultFile, after: ResultFile) -> list[str]:
    """Return what makes the comparison of two files not one of like with like."""
    return [
        *_differences("environment", flat(before.environment), flat(after.environment)),
        *_differences("", _whole(before), _whole(after)),
        *_scenarios(before, after),
        *_only_in_one("runs of", _run_names(before), _run_names(after)),
        *_only_in_one("ordinary requests:", _ordinary_names(before), _ordinary_names(after)),
        *_only_in_one("small measurement", micro_entries(before), micro_entries(after)),
        *_failures("before", before),
        *_failures("after", after),
    ]


def _whole(results: ResultFile) -> dict[str, Any]:
    return {"model": results.model, "short form": results.quick, "complete": results.complete}


def _differences(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*before, *after]):
        values = before.get(name, _ABSENT), after.get(name, _ABSENT)
        if values[0] != values[1] and name not in _COMPARED:
            first, second = (f"{v:.4g}" if isinstance(v, float) else v for v in values)
            yield f"{what} {name}: {first} before, {second} after".strip()


def _scenarios(before: ResultFile, after: ResultFile) -> Iterator[str]:
    later = {scenario.name: scenario for scenario in after.scenarios}
    for scenario in before.scenarios:
        if scenario.name in later:
            yield from _differences(
                f"scenario {scenario.name}:",
                scenario.model_dump(),
                later[scenario.name].model_dump(),
            )


def _run_names(results: ResultFile) -> list[str]:
    return [f"{key.scenario}: {key.system}" for key in run_groups(results)]


def _ordinary_names(results: ResultFile) -> list[str]:
    return [
        f"{system}, {concurrency} at a time"
        for concurrency, systems in ordinary_groups(results).items()
        for system in systems
    ]


def _only_in_one(what: str, before: Iterable[str], after: Iterable[str]) -> Iterator[str]:
    first, second = dict.fromkeys(before), dict.fromkeys(after)
    yield from (f"{what} {name}: only before" for name in first if name not in second)
    yield from (f"{what} {name}: only after" for name in second if name not in first)


def _failures(when: str, results: ResultFile) -> Iterator[str]:
    for key, group in run_groups(results).items():
        if group.failed:
            name = f"{key.scenario}: {key.system}"
            yield f"{name}: {group.failed} queries failed {when}, and are in no percentile"
