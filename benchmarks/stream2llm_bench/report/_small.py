"""Sections of the report that are not about one scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream2llm_bench.analysis.flat import flat, parameters_text
from stream2llm_bench.analysis.ordinary import OrdinaryGroup, ordinary_groups
from stream2llm_bench.analysis.series import rows
from stream2llm_bench.analysis.statistics import POINTS, percentile_estimates
from stream2llm_bench.report._markdown import MISSING, estimated, number, table

if TYPE_CHECKING:
    from stream2llm_bench.results import MicroResult, ResultFile

__all__ = [
    "SCOPE",
    "capacity_section",
    "environment_section",
    "micro_section",
    "ordinary_section",
]

SCOPE = """\
## What these numbers are

- **Measured**: everything on this page, on the real engine and on unmodified vLLM, on the machine
  named under [Environment](#environment). Everybody got the same arrivals, one system after the
  other. For CPUs the model is small and the prompts are short, so that it fits: compare systems
  with each other, and do not take the seconds for those of a GPU.
- **Simulated**: H200 and other GPUs, with `stream2llm simulate` (`docs/simulator.md`). vLLM's real
  scheduler runs there under a virtual clock, and what a step takes comes from a profile. None of
  that is on this page.
- **On a GPU**: one trace and the tests of equality, see `docs/benchmarks.md`.
- **Not measured by anybody yet**: CUDA with several GPUs, with updates, or short of memory.

Values are medians over the seeds. Intervals in parentheses are 95 %: of percentiles by bootstrap
over the queries of each seed (for ratios over the same queries of both systems, where all have an
answer), of other numbers by Student's t over the seeds. They cover chance within these runs, not
another day or another machine. The P99 of a short trace is nearly its longest wait, so its interval
cannot end above that."""

_UNITS = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((2.0**20, "MiB"), (1024.0, "KiB")),
}


def capacity_section(results: ResultFile) -> str:
    """Return how the rates of arrival were found."""
    lines = [
        [
            one.scenario,
            str(one.seed),
            str(one.queries),
            f"{one.tokens:,}",
            number(one.drain_s),
            number(one.qps),
        ]
        for one in results.capacity
    ]
    header = ["prompts of", "seed", "queries", "tokens", "all answered, s", "capacity, queries/s"]
    about = "What blocking answers when it never idles. Loads are shares of it."
    return _section("Capacity", about, header, lines)


def ordinary_section(results: ResultFile) -> str:
    """Return ordinary requests beside stock vLLM."""
    lines = []
    for concurrency, systems in ordinary_groups(results).items():
        stock = systems.get("stock")
        for name, group in systems.items():
            lines.append([name, str(concurrency), *_ordinary(group, stock)])
    header = [
        "system",
        "at a time",
        "repetitions",
        "tokens/s",
        "over stock",
        "between tokens P50, ms",
        "P95, ms",
        "P99, ms",
    ]
    about = (
        "Requests without any session, on an engine that could serve sessions. Systems take turns."
    )
    return _section("Ordinary requests", about, header, lines)


def micro_section(results: ResultFile) -> str:
    """Return the small measurements."""
    lines = [
        [one.name, parameters_text(one.parameters), str(len(one.samples)), *_micro(one)]
        for one in results.micro
    ]
    header = ["what", "with", "repetitions", "P50", "P95", "P99"]
    return _section("Small measurements", "", header, lines)


def environment_section(results: ResultFile) -> str:
    """Return where and how the file was made."""
    lines = [[f"`{name}`", str(value)] for name, value in flat(results.environment).items()]
    lines += [["model", results.model], ["command", f"`{results.command}`"]]
    return f"## Environment\n\n{table(['what', 'value'], lines)}"


def _section(title: str, about: str, header: list[str], lines: list[list[str]]) -> str:
    body = table(header, lines) if lines else "Not measured."
    return "\n\n".join(part for part in (f"## {title}", about, body) if part)


def _ordinary(group: OrdinaryGroup, stock: OrdinaryGroup | None) -> list[str]:
    gaps = group.gaps().estimates()
    return [
        str(len(group.runs)),
        estimated(group.throughput()),
        estimated(group.throughput_over(stock)) if stock and stock is not group else MISSING,
        *(estimated(gaps[point].times(1e3)) if point in gaps else MISSING for point in POINTS),
    ]


def _micro(entry: MicroResult) -> list[str]:
    if not entry.samples:
        return [MISSING] * len(POINTS)
    found = percentile_estimates([rows(entry.samples)])
    factor, unit = _unit(entry)
    return [f"{estimated(found[point].times(1 / factor))} {unit}".strip() for point in POINTS]


def _unit(entry: MicroResult) -> tuple[float, str]:
    """Return the unit in which the median reads best, with its size in the unit of the file."""
    units = _UNITS.get(entry.unit, ((1.0, ""),))
    return next((unit for unit in units if abs(entry.median) >= unit[0]), units[-1])
