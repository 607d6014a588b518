"""What a simulation measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["SimulationOutcome", "percentiles"]

_PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}


def percentiles(values: list[float]) -> dict[str, float | None]:
    """Return P50, P95, P99, P99.9 and the maximum; all ``None`` where there are no values."""
    if not values:
        return dict.fromkeys(_PERCENTILES)
    found = np.percentile(np.asarray(values), list(_PERCENTILES.values()))
    return dict(zip(_PERCENTILES, map(float, found), strict=True))


@dataclass(slots=True, kw_only=True)
class SimulationOutcome:
    """One run of a workload on one engine; times in seconds of the virtual clock.

    Attributes:
        ttft_from_final_s: First token since the final context, by query id.
        time_to_first_token_s: First token since the query arrived, by query id.
        tenants: Whom each query belongs to.
        refused: Queries whose prompt can never fit the engine.
        completion_s: When the last query was answered.
        tokens_computed: Prompt tokens computed, all in all.
        tokens_invalidated: Computed tokens that updates threw away.
        tokens_recomputed: Tokens computed again because their KV had been evicted.
        tokens_reused: Tokens taken from the prefix cache.
        preemptions: Evictions by kind.
        idle_preemptions: Those of them of sessions that had nothing to compute.
        evicted_blocks: KV blocks that became free by eviction.
        steps: Scheduler steps.
        busy_s: Time in which the engine computed.
        wall_s: How long the simulation took, in real seconds.
    """

    ttft_from_final_s: dict[str, float] = field(default_factory=dict)
    time_to_first_token_s: dict[str, float] = field(default_factory=dict)
    tenants: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    completion_s: float = 0.0
    tokens_computed: int = 0
    tokens_invalidated: int = 0
    tokens_recomputed: int = 0
    tokens_reused: int = 0
    preemptions: dict[str, int] = field(default_factory=dict)
    idle_preemptions: int = 0
    evicted_blocks: int = 0
    steps: int = 0
    busy_s: float = 0.0
    wall_s: float = 0.0

    def figures(self) -> dict[str, Any]:
        """Return what result files hold of a run."""
        return {
            "ttft_from_final_s": percentiles(list(self.ttft_from_final_s.values())),
            "time_to_first_token_s": percentiles(list(self.time_to_first_token_s.values())),
            "tokens_computed": self.tokens_computed,
            "tokens_invalidated": self.tokens_invalidated,
            "tokens_recomputed": self.tokens_recomputed,
            "tokens_reused": self.tokens_reused,
            "preemptions": self.preemptions,
            "idle_preemptions": self.idle_preemptions,
            "evicted_blocks": self.evicted_blocks,
            "completion_s": self.completion_s,
            "refused": len(self.refused),
            "steps": self.steps,
            "busy_s": self.busy_s,
            "simulation_wall_s": self.wall_s,
        }
