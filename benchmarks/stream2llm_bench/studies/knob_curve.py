"""How the two free knobs of the update workload move what is published about it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from stream2llm_bench.studies.paper_runs import PROFILES, Traffic, paper_queries, paper_settings
from stream2llm_engine.simulator import simulate
from stream2llm_profiles import load_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream2llm_engine.simulator import SimulatedQuery
    from stream2llm_profiles import HardwareProfile

__all__ = ["KNOBS", "KNOB_RATES", "KnobResult", "knob_curve"]

_Order: TypeAlias = Literal["rank", "stable"]
_ORDERS: tuple[_Order, ...] = ("rank", "stable")
KNOBS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.15)
"""Replacement rates."""
KNOB_RATES = (0.25, 0.5)
"""QPS at which streaming is compared with blocking."""


class KnobResult(NamedTuple):
    """What one replacement rate, with twice that re-rank rate, does on H200; median over seeds.

    Attributes:
        replacement_rate: The knob.
        ratios: P50 of streaming ``fcfs`` over blocking, ``order="rank"``, at 0.25 and 0.5 QPS.
        invalidated: Tokens that updates invalidate at 2 QPS under ``fcfs``, by order.
    """

    replacement_rate: float
    ratios: list[float]
    invalidated: dict[_Order, int]


def knob_curve(
    seeds: Sequence[int],
    *,
    replacement_rates: Sequence[float] = KNOBS,
    queries: int | None = None,
    on_run: Callable[[], None] = lambda: None,
) -> list[KnobResult]:
    """Vary the replacement rate of the update workload, and the re-rank rate with it."""
    profile = load_profile(PROFILES["H200"])
    results = []
    for rate in replacement_rates:
        draw = partial(
            paper_queries,
            count=queries,
            replacement_rate=rate,
            rerank_rate=min(1.0, 2 * rate),
        )
        ratios: list[list[float]] = []
        invalidated: list[list[int]] = []
        for seed in seeds:
            workloads = [draw(Traffic("anns", 1, qps), seed=seed) for qps in KNOB_RATES]
            ratios.append([_streaming_ratio(profile, workload) for workload in workloads])
            busy = [draw(Traffic("anns", 1, 2.0), seed=seed, order=order) for order in _ORDERS]
            settings = paper_settings(profile, "anns", "fcfs")
            invalidated.append([simulate(q, settings).tokens_invalidated for q in busy])
            on_run()
        tokens = np.median(invalidated, axis=0).astype(int).tolist()
        results.append(
            KnobResult(
                rate,
                np.median(ratios, axis=0).tolist(),
                dict(zip(_ORDERS, tokens, strict=True)),
            )
        )
    return results


def _streaming_ratio(profile: HardwareProfile, workload: list[SimulatedQuery]) -> float:
    fcfs, blocking = (
        np.median(list(simulate(workload, settings).ttft_from_final_s.values()))
        for settings in (paper_settings(profile, "anns", name) for name in ("fcfs", "blocking"))
    )
    return float(fcfs / blocking)
