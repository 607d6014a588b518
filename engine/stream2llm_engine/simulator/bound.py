"""What no scheduler can beat: first tokens on a machine that serves nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stream2llm_engine.tokens import common_prefix_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream2llm_engine.simulator.queries import SimulatedQuery
    from stream2llm_engine.simulator.settings import SimulationSettings

__all__ = ["idle_bound"]


def idle_bound(queries: Sequence[SimulatedQuery], settings: SimulationSettings) -> dict[str, float]:
    """Return the seconds from final context to first token on an idle machine, by query id.

    Everything before the last event has been computed, and what the last event adds is computed
    alone. Hits in the prefix cache are not counted, and can undercut the bound.

    Args:
        queries: The workload.
        settings: The engine; the policy plays no part.
    """
    return {query.query_id: _first_token_s(query, settings) for query in queries}


def _first_token_s(query: SimulatedQuery, settings: SimulationSettings) -> float:
    final = query.final_prompt()
    before = replace(query, events=query.events[:-1], question=[]).final_prompt()
    kept = common_prefix_length(before, final)
    if query.events[-1].replace:
        kept -= kept % settings.block_size
    # The first token of the answer takes a pass over at least one token of the prompt.
    kept = max(0, min(kept, len(final) - 1))
    prefill_s = settings.profile.prefill.prefill_s(
        len(final) - kept, kept, chunk_tokens=settings.token_budget
    )
    return prefill_s + settings.profile.request_overhead_s
