"""``stream2llm bench``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from stream2llm_rag.cli.errors import CommandError, friendly_errors, require_extras
from stream2llm_rag.cli.options import chosen, command_line, writable

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream2llm_bench.playing.machine import Machine
    from stream2llm_bench.playing.meter import Meter
    from stream2llm_bench.playing.scenarios import Plan
    from stream2llm_bench.results import ResultFile

__all__ = ["bench"]

# What the small measurements take, in seconds: short form, full form.
_SMALL_S = {"traffic": (40.0, 120.0), "micro": (40.0, 150.0), "overhead": (20.0, 60.0)}


@friendly_errors
def bench(
    context: typer.Context,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Under five minutes: one seed, short traces.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="Result file; one that is there is completed.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Scenarios to play, with commas; nothing else is measured.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Play the rates of this result file, to be compared with it."),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write report.md and pictures beside it.")] = True,
) -> None:
    """Measure the real engine against what people would use instead.

    Stock vLLM waits for the context, warms its prefix cache, or takes its own session inputs; ours
    streams, under each policy. All get the same arrivals, one after the other, on this machine. A
    run that was interrupted goes on where it stopped.
    """
    require_extras("vllm", "matplotlib", "langchain_core", "llama_index.core", "psutil")
    from stream2llm_bench.playing.machine import random_machine
    from stream2llm_bench.playing.scenarios import full_plan, quick_plan

    console = Console()
    plan = quick_plan() if quick else full_plan()
    if only is not None:
        names = chosen(only, [traffic.name for traffic in plan.traffic], "--only")
        plan = plan._replace(traffic=tuple(t for t in plan.traffic if t.name in names))
    path = writable(json or Path("bench-output") / _default_name(quick=quick), folder=False)
    results = _found_or_new(path, command_line(context), quick=quick, like=like)
    with tempfile.TemporaryDirectory() as directory:
        machine = random_machine(Path(directory))
        results = results.model_copy(update={"model": machine.label})
        results = _measure(plan, machine, results, path, console, small=only is None)
    _conclude(results, path, console, report=report)


def _default_name(*, quick: bool) -> str:
    return "quick.json" if quick else "results.json"


def _found_or_new(path: Path, command: str, *, quick: bool, like: Path | None) -> ResultFile:
    from stream2llm_bench.environment import environment
    from stream2llm_bench.results import ResultFile, load_results

    if not path.exists():
        new = ResultFile(command=command, quick=quick, environment=environment())
        if like is None:
            return new
        model = load_results(like)
        return new.model_copy(update={"capacity": model.capacity, "scenarios": model.scenarios})
    found = load_results(path)
    if found.complete:
        msg = f"{path} is complete: move it away or give another file with --json"
        raise CommandError(msg)
    if found.quick != quick:
        how = "with" if found.quick else "without"
        msg = f"{path} was begun {how} --quick: do the same, or give another file with --json"
        raise CommandError(msg)
    return found


def _measure(
    plan: Plan,
    machine: Machine,
    results: ResultFile,
    path: Path,
    console: Console,
    *,
    small: bool,
) -> ResultFile:
    from stream2llm_bench.bench_run import BenchRun
    from stream2llm_bench.playing.meter import Meter
    from stream2llm_bench.playing.system_pool import SystemPool
    from stream2llm_bench.step_estimates import plan_estimate_s

    total_s = plan_estimate_s(plan)
    if small:
        total_s += sum(seconds[not results.quick] for seconds in _SMALL_S.values())
    with Meter(console, total_s) as meter:
        with SystemPool() as pool:
            run = BenchRun(plan, machine, results, path, meter, pool)
            run.run()
        results = run.results
        if small:
            results = _measure_small(machine, results, path, meter)
            results = results.model_copy(update={"complete": True})
    results.save(path)
    return results


def _measure_small(machine: Machine, results: ResultFile, path: Path, meter: Meter) -> ResultFile:
    from stream2llm_bench.small import integration_overhead, micro, traffic

    measures: dict[str, tuple[Callable[..., list[Any]], str]] = {
        "traffic": (traffic.measure, "traffic"),
        "micro": (micro.measure, "micro"),
        "overhead": (integration_overhead.measure, "micro"),
    }
    for name, (measure, field) in measures.items():
        if name not in results.small:
            meter.describe(name)
            found = measure(machine.model, quick=results.quick, on_progress=meter.describe)
            results = results.model_copy(
                update={
                    field: [*getattr(results, field), *found],
                    "small": [*results.small, name],
                }
            )
            results.save(path)
        meter.finish(_SMALL_S[name][not results.quick])
    return results


def _conclude(results: ResultFile, path: Path, console: Console, *, report: bool) -> None:
    from stream2llm_bench.report.command import print_targets, write_report

    print_targets(results, console)
    console.print(f"results: {path}")
    if report:
        console.print(f"report: {write_report(results, path.parent)}")
