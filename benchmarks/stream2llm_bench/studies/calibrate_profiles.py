"""Fits the analytic profiles to the published runs without streaming.

``python -m stream2llm_bench.studies.calibrate_profiles`` prints the fit, ``--write`` puts it into
the shipped profiles, ``--pools`` prints what the size of the KV pool does to preemptions.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from stream2llm_bench.studies.bounded_fit import fit
from stream2llm_bench.studies.paper_runs import PROFILES, Traffic, paper_queries, paper_settings
from stream2llm_bench.studies.profile_files import write_profiles
from stream2llm_bench.studies.published import PREEMPTIONS, ROWS
from stream2llm_engine.simulator import PromptEvent, simulate
from stream2llm_profiles import HardwareProfile, PrefillCost, load_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from stream2llm_bench.studies.published import Hardware, PublishedRow, WorkloadName
    from stream2llm_engine.simulator import SimulatedQuery

__all__ = ["CALIBRATION_RATES", "CONTEXT_SHARE", "Sample", "calibrated", "is_calibration_row"]

CALIBRATION_RATES: dict[WorkloadName, tuple[float, float]] = {
    "crawler": (0.5, 1.0),
    "anns": (0.25, 0.5),
}
SEEDS: dict[WorkloadName, int] = {"crawler": 3, "anns": 9}
"""Workloads to take the median over: the trace of 500 queries varies more from seed to seed."""

# Llama-3.1-8B: 4 * 32 layers * 4,096 FLOP for a pair of tokens in attention, 2 * 6.98e9 for a token
# in the weights of the layers (32 * 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336); no token but the last
# of a prompt goes through the output head).
CONTEXT_SHARE = (4 * 32 * 4096) / (2 * 32 * 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336))

# With 1,200,000 tokens of the 1,550,000 that the memory of two H200 holds, fcfs preempts about as
# often as published in the crawler run with tenfold delays. H100: the same share of 790,000.
POOL_TOKENS: dict[Hardware, int] = {"H200": 1_200_000, "H100": 610_000}

# token_s, step_overhead_s and request_overhead_s from data sheets, to start from.
_START: dict[Hardware, tuple[float, float, float]] = {
    "H200": (1.69e-5, 2.2e-3, 8e-3),
    "H100": (1.75e-5, 2.4e-3, 8e-3),
}
_LOWER = np.array([1e-6, 5e-4, 0.0])
_STEPS = np.array([5e-7, 5e-4, 1e-3])
_POOLS = (1_000_000, 1_100_000, 1_200_000, 1_300_000, 1_400_000, 1_550_000)


class Sample(NamedTuple):
    """A published P50 and the workloads, one for each seed, that should reproduce it."""

    traffic: Traffic
    target_s: float
    workloads: list[list[SimulatedQuery]]


def is_calibration_row(row: PublishedRow) -> bool:
    """Return whether the P50 of the run is what profiles are fitted to."""
    return (
        row.policy == "blocking" and row.delay == 1 and row.qps in CALIBRATION_RATES[row.workload]
    )


def calibrated(
    profile: HardwareProfile,
    samples: Sequence[Sample],
    *,
    iterations: int = 2,
    on_run: Callable[[], None] = lambda: None,
) -> HardwareProfile:
    """Return the profile with fitted prefill costs and request overhead.

    Args:
        profile: First guess.
        samples: What to fit.
        iterations: Linearisations. The median of few queries has kinks and takes more.
        on_run: Called after every simulation.
    """

    def predict(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        candidate = with_parameters(profile, parameters)
        return np.array([blocking_p50_s(candidate, sample, on_run) for sample in samples])

    start = np.array(
        [profile.prefill.token_s, profile.prefill.step_overhead_s, profile.request_overhead_s]
    )
    targets = np.array([sample.target_s for sample in samples])
    found = fit(predict, targets, start=start, lower=_LOWER, steps=_STEPS, iterations=iterations)
    return with_parameters(profile, found)


def with_parameters(profile: HardwareProfile, parameters: NDArray[np.float64]) -> HardwareProfile:
    """Return the profile with ``token_s``, ``step_overhead_s`` and ``request_overhead_s``."""
    token_s, step_overhead_s, request_overhead_s = map(float, parameters)
    prefill = PrefillCost(
        step_overhead_s=step_overhead_s,
        token_s=token_s,
        token_context_s=CONTEXT_SHARE * token_s,
    )
    update = {"prefill": prefill, "request_overhead_s": request_overhead_s}
    return profile.model_copy(update=update)


def blocking_p50_s(
    profile: HardwareProfile, sample: Sample, on_run: Callable[[], None] = lambda: None
) -> float:
    """Return the median over the workloads of a sample of their median TTFT."""
    medians = []
    for queries in sample.workloads:
        outcome = simulate(queries, paper_settings(profile, sample.traffic.workload, "blocking"))
        medians.append(np.median(list(outcome.ttft_from_final_s.values())))
        on_run()
    return float(np.median(medians))


def without_streaming(query: SimulatedQuery) -> SimulatedQuery:
    """Return a query whose whole context comes at once, its tokens being worth nothing.

    That is all that a run without streaming and without prefix cache sees of it, and it takes a
    quarter of the memory.
    """
    tokens = [0] * (len(query.final_prompt()) - len(query.question))
    event = PromptEvent(delay_s=query.final_s - query.arrival_s, token_ids=tokens)
    return replace(query, events=[event])


def _samples() -> dict[Hardware, list[Sample]]:
    workloads = {}
    for workload, rates in CALIBRATION_RATES.items():
        for qps in rates:
            traffic = Traffic(workload, 1, qps)
            workloads[traffic] = [
                [without_streaming(query) for query in paper_queries(traffic, seed=seed)]
                for seed in range(SEEDS[workload])
            ]
    samples: dict[Hardware, list[Sample]] = {hardware: [] for hardware in PROFILES}
    for row in filter(is_calibration_row, ROWS):
        traffic = Traffic(row.workload, row.delay, row.qps)
        samples[row.hardware].append(Sample(traffic, row.p50, workloads[traffic]))
    return samples


def _fitted(console: Console) -> dict[Hardware, HardwareProfile]:
    with console.status("Drawing the workloads"):
        samples = _samples()
    profiles = {}
    with Progress(console=console, transient=True) as progress:
        for hardware, name in PROFILES.items():
            task = progress.add_task(f"Fitting {hardware}", total=8 * 2 * sum(SEEDS.values()))
            first_guess = with_parameters(load_profile(name), np.array(_START[hardware]))
            profiles[hardware] = calibrated(
                first_guess, samples[hardware], on_run=partial(progress.advance, task)
            )
    for hardware, profile in profiles.items():
        _print_fit(console, hardware, profile, samples[hardware])
    return profiles


def _print_fit(
    console: Console, hardware: Hardware, profile: HardwareProfile, samples: list[Sample]
) -> None:
    prefill = profile.prefill
    console.print(
        f"{hardware}: {prefill.token_s * 1e6:.3f} us a token,"
        f" {prefill.step_overhead_s * 1e3:.3f} ms a step,"
        f" {profile.request_overhead_s * 1e3:.3f} ms a request"
    )
    table = Table("Workload", "QPS", "Simulated P50, s", "Published P50, s", "Error")
    for sample in samples:
        seconds = blocking_p50_s(profile, sample)
        table.add_row(
            sample.traffic.workload,
            f"{sample.traffic.qps:g}",
            f"{seconds:.4f}",
            f"{sample.target_s:.4f}",
            f"{seconds / sample.target_s - 1:+.1%}",
        )
    console.print(table)


def _print_pools(console: Console, profile: HardwareProfile) -> None:
    table = Table("Workload", "Pool, tokens", "Preemptions", "Evicted blocks", "P95, s", "P99, s")
    for row in PREEMPTIONS:
        if row.policy != "fcfs":
            continue
        queries = paper_queries(Traffic(row.workload, row.delay, row.qps), seed=0)
        for pool in _POOLS:
            outcome = simulate(
                queries, paper_settings(profile, row.workload, "fcfs", pool_tokens=pool)
            )
            ttft = outcome.figures()["ttft_from_final_s"]
            table.add_row(
                f"{row.workload} x{row.delay}",
                f"{pool:,}",
                f"{outcome.preemptions['recompute']} (published {row.preemptions})",
                f"{outcome.evicted_blocks:,}",
                f"{ttft['p95']:.3f}",
                f"{ttft['p99']:.3f}",
            )
    console.print(table)


def main(
    *,
    write: Annotated[bool, typer.Option("--write", help="Rewrite the shipped profiles.")] = False,
    pools: Annotated[bool, typer.Option("--pools", help="Only vary the KV pool.")] = False,
) -> None:
    """Fit the H200 and H100 profiles to the published P50 of the runs without streaming."""
    console = Console(highlight=False)
    if pools:
        _print_pools(console, load_profile(PROFILES["H200"]))
        return
    fitted = _fitted(console)
    if write:
        pooled = {
            hardware: profile.model_copy(update={"kv_pool_tokens": POOL_TOKENS[hardware]})
            for hardware, profile in fitted.items()
        }
        for path in write_profiles(pooled):
            console.print(f"Written: {path}")


if __name__ == "__main__":
    typer.run(main)
