"""The published runs, rebuilt for the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from stream2llm_engine.simulator import SimulationSettings
from stream2llm_rag.workloads import AnnsWorkload, CrawlerWorkload

if TYPE_CHECKING:
    from stream2llm_bench.studies.published import Hardware, WorkloadName
    from stream2llm_engine.simulator import SimulatedQuery
    from stream2llm_profiles import HardwareProfile

__all__ = ["PROFILES", "TOKEN_BUDGETS", "Traffic", "paper_queries", "paper_settings"]

PROFILES: dict[Hardware, str] = {
    "H200": "h200-tp2-llama-3.1-8b",
    "H100": "h100-tp2-llama-3.1-8b",
}
TOKEN_BUDGETS: dict[WorkloadName, int] = {"crawler": 2048, "anns": 8192}


class Traffic(NamedTuple):
    """A trace and how fast it is played."""

    workload: WorkloadName
    delay: int
    qps: float


def paper_queries(
    traffic: Traffic,
    *,
    seed: int,
    order: Literal["rank", "stable"] = "rank",
    count: int | None = None,
    **knobs: Any,
) -> list[SimulatedQuery]:
    """Return the queries of a published run.

    Args:
        traffic: Which trace, how fast.
        seed: Seed of the workload.
        order: Where documents stand in the prompt of the update workload.
        count: Number of queries; ``None``: as many as the paper's.
        knobs: Further knobs of the workload.
    """
    knobs |= {"qps": traffic.qps, "delay_multiplier": float(traffic.delay)}
    if count is not None:
        knobs["queries"] = count
    if traffic.workload == "crawler":
        return CrawlerWorkload(**knobs).generate(seed=seed)
    return AnnsWorkload(order=order, **knobs).generate(seed=seed)


def paper_settings(
    profile: HardwareProfile,
    workload: WorkloadName,
    policy: str,
    *,
    pool_tokens: int | None = None,
) -> SimulationSettings:
    """Return the paper's engine: no prefix caching, blocks of 16, its token budgets."""
    return SimulationSettings(
        profile=profile,
        policy=policy,
        token_budget=TOKEN_BUDGETS[workload],
        block_size=16,
        pool_tokens=pool_tokens,
        prefix_caching=False,
    )
