"""Two-phase planning of one scheduler step, free of vLLM.

Phase 1 walks the ranked candidates against the token budget and the KV pool and grants tokens to
those that fit; nothing changes while it walks. Phase 2 names the victims whose tail blocks make
room. The shape is Stream2LLM's (MLSys'26); unlike its artifact, feasibility counts the blocks that
candidates share, a victim keeps its prefix, and a request that is still open never takes blocks
from one ranked above it, so two open sessions cannot evict each other in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BlockLedger", "StepPlan", "plan_with_eviction", "plan_without_eviction"]


class BlockLedger(Protocol):
    """What the planner asks about the requests and the KV pool. No call changes anything."""

    def wanted_tokens(self, request_id: str) -> int:
        """Return how many tokens the request could compute now; 0 for a parked session."""
        ...

    def free_blocks(self) -> int:
        """Return how many blocks can be allocated without evicting anybody."""
        ...

    def total_blocks(self) -> int:
        """Return the size of the pool."""
        ...

    def blocks_needed(self, request_id: str, tokens: int) -> int:
        """Return the blocks that leave the free list if the request computes ``tokens`` more."""
        ...

    def held_blocks(self, request_id: str) -> Iterable[int]:
        """Return the ids of the blocks the request holds or would share with their holders."""
        ...


@dataclass(slots=True)
class StepPlan:
    """What one step does.

    Attributes:
        grants: Tokens granted, by request id, in rank order.
        reserved_blocks: Blocks that must be free for the grants.
        victims: Ids to take tail blocks from, in this order, until ``reserved_blocks`` are free.
    """

    grants: dict[str, int] = field(default_factory=dict)
    reserved_blocks: int = 0
    victims: list[str] = field(default_factory=list)


def plan_without_eviction(
    ranked: Sequence[str], ledger: BlockLedger, *, token_budget: int, slots: int
) -> StepPlan | None:
    """Plan a step from the free blocks alone, the common case.

    Args:
        ranked: Ids of requests with something to compute, best first.
        ledger: The KV pool.
        token_budget: Tokens the step may compute.
        slots: Requests the model runner can hold.

    Returns:
        The plan, or ``None`` if a request that the token budget reaches lacks blocks.
    """
    plan = StepPlan()
    free = ledger.free_blocks()
    for request_id in ranked:
        if token_budget <= 0 or len(plan.grants) >= slots:
            break
        tokens = min(ledger.wanted_tokens(request_id), token_budget)
        if tokens <= 0:
            continue
        plan.reserved_blocks += ledger.blocks_needed(request_id, tokens)
        if plan.reserved_blocks > free:
            return None
        plan.grants[request_id] = tokens
        token_budget -= tokens
    return plan


def plan_with_eviction(
    ranked: Sequence[str], ledger: BlockLedger, *, token_budget: int, slots: int
) -> StepPlan:
    """Plan a step whose grants need blocks that somebody else holds.

    Walking down the ranking, every candidate either gets its tokens, or keeps the blocks it holds
    against everyone ranked below it, or, where the pool is too small for that, becomes a victim.

    Args:
        ranked: Ids of all requests that hold blocks or have something to compute, best first.
        ledger: The KV pool.
        token_budget: Tokens the step may compute.
        slots: Requests the model runner can hold.

    Returns:
        The plan; its grants fit once the victims have given up enough blocks.
    """
    plan = StepPlan()
    total = ledger.total_blocks()
    kept: set[int] = set()
    for request_id in ranked:
        affordable = token_budget > 0 and len(plan.grants) < slots
        tokens = min(ledger.wanted_tokens(request_id), token_budget) if affordable else 0
        union = kept.union(ledger.held_blocks(request_id))
        if tokens > 0:
            needed = ledger.blocks_needed(request_id, tokens)
            if len(union) + plan.reserved_blocks + needed <= total:
                plan.grants[request_id] = tokens
                plan.reserved_blocks += needed
                token_budget -= tokens
                kept = union
                continue
        if len(union) + plan.reserved_blocks <= total:
            kept = union
        plan.victims.append(request_id)
    plan.victims.reverse()
    return plan
