"""Two-phase planning of one scheduler step, free of vLLM.

Phase 1 walks the ranked candidates against the token budget and the KV pool and grants tokens to
those that fit. Where blocks lack, phase 2 takes them from victims, the cheapest first, from the
tail, and no more than lack. Nothing changes while the plan is made. The shape is Stream2LLM's
(MLSys'26); unlike its artifact, blocks that requests share are counted as shared, and a victim
keeps its prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from stream2llm_engine.eviction import EvictionSearch, VictimLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BlockLedger", "StepLimits", "StepPlan", "plan_step"]


class BlockLedger(VictimLedger, Protocol):
    """What the planner asks about requests and the KV pool. No call changes anything."""

    def undisputed(
        self, ranked: Sequence[str], tokens: int, slots: int
    ) -> tuple[dict[str, int], int]:
        """Return grants for leading requests that get what they want, and the blocks they need.

        Running answers, typically: many, one token each, and all of them fit. They go ahead of the
        walk because asking for each one by one is what a step would spend its time on.
        """
        ...

    def wanted_tokens(self, request_id: str) -> int:
        """Return how many tokens the request should compute now."""
        ...

    def prefill_s(self, request_id: str, tokens: int) -> float:
        """Return the seconds that the request's next ``tokens`` add to a step."""
        ...

    def tokens_within(self, request_id: str, seconds: float) -> int:
        """Return how many of its next tokens the request computes in that time."""
        ...

    def restore_blocks(self, request_id: str) -> int:
        """Return the blocks that the request's KV in host memory has to come back to first."""
        ...

    def unsettled_tokens(self, request_id: str) -> int:
        """Return how many more it could compute that an update will probably replace."""
        ...

    def is_final(self, request_id: str) -> bool:
        """Return whether the prompt is complete."""
        ...

    def waive(self) -> bool:
        """Give up rules that keep finalized prompts off blocks; return whether that changes any.

        Asked where they would keep everything but running answers waiting.
        """
        ...

    def free_blocks(self) -> int:
        """Return how many blocks can be allocated without evicting anybody."""
        ...

    def reserve_blocks(self, request_id: str) -> int:
        """Return the free blocks that the request has to leave to others."""
        ...

    def blocks_needed(self, request_id: str, tokens: int) -> int:
        """Return the blocks that leave the free list if the request computes ``tokens`` more."""
        ...

    def hit_blocks(self, request_id: str) -> Sequence[int]:
        """Return the ids of blocks in use by others that the prefix cache would share with it."""
        ...


@dataclass(slots=True)
class StepPlan:
    """What one step does.

    Attributes:
        grants: Tokens granted, by request id, in rank order.
        reserved_blocks: Blocks that must be free for the grants.
        evictions: How many tail blocks each victim gives up before the step.
        restores: Who gets KV back from host memory beside the step.
    """

    grants: dict[str, int] = field(default_factory=dict)
    reserved_blocks: int = 0
    evictions: dict[str, int] = field(default_factory=dict)
    restores: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """What one step may do at most.

    Attributes:
        token_budget: Tokens the step may compute.
        slots: Requests the model runner can hold.
        open_budget: Gives the tokens that open sessions may compute in all, from the tokens that
            finalized prompts got and the budget left; default: the budget left.
        added_budget: Gives the tokens that further finalized requests may add to a step, from the
            number of those that it completes, of those that wait, and the budget left; default: the
            budget left.
        answer_step_s: Seconds that prompts may add to a step that serves running answers; default:
            no limit.
    """

    token_budget: int
    slots: int
    open_budget: Callable[[int, int], int] | None = None
    added_budget: Callable[[int, int, int], int] | None = None
    answer_step_s: float | None = None


def plan_step(ranked: Sequence[str], ledger: BlockLedger, limits: StepLimits) -> StepPlan:
    """Plan one step.

    Args:
        ranked: Ids of the requests with something to compute, best first.
        ledger: Requests and the KV pool.
        limits: What the step may do at most.

    Returns:
        The plan; its grants fit once the victims have given up their blocks.
    """
    walk = _Walk(ledger, limits.token_budget, limits.slots)
    walk.start_with(*ledger.undisputed(ranked, limits.token_budget, limits.slots))
    in_bulk, refused = walk.size, False
    if in_bulk:
        walk.seconds = limits.answer_step_s
    final_tokens = 0
    open_left: int | None = None
    finals = _FinalTokens(ranked, ledger, in_bulk, limits.added_budget)
    for request_id in islice(ranked, len(walk.plan.grants), None):
        if walk.exhausted:
            break
        if blocks := ledger.restore_blocks(request_id):
            if not walk.restore(request_id, blocks):
                refused |= ledger.is_final(request_id)
            continue
        if ledger.is_final(request_id):
            wanted = ledger.wanted_tokens(request_id)
            if tokens := finals.allowed(wanted, walk.token_budget):
                granted = walk.grant(request_id, tokens)
                final_tokens += granted
                refused |= not granted
                finals.note(granted, wanted)
            continue
        if open_left is None:
            left = walk.token_budget
            open_left = limits.open_budget(final_tokens, left) if limits.open_budget else left
        if open_left > 0:
            tokens = min(ledger.wanted_tokens(request_id), open_left)
            open_left -= walk.grant(request_id, tokens)
    if refused and walk.size == in_bulk and ledger.waive():
        return plan_step(ranked, ledger, limits)
    if open_left and not final_tokens and not in_bulk:
        walk.fill_with_unsettled(ranked, open_left)
    return walk.finished()


class _FinalTokens:
    """What finalized requests may add to a step that completes better-ranked ones."""

    # Who is further back changes little about what may be added.
    _MOST_COUNTED = 64

    def __init__(
        self,
        ranked: Sequence[str],
        ledger: BlockLedger,
        first: int,
        budget: Callable[[int, int, int], int] | None,
    ) -> None:
        self._behind = islice(ranked, first, first + self._MOST_COUNTED)
        self._ledger = ledger
        self._budget = budget
        self._waiting: int | None = None
        self._seen = 0
        self._finishing = 0
        self._added = 0

    def allowed(self, wanted: int, left: int) -> int:
        """Return how many of the wanted tokens the next request may compute."""
        if self._budget is None or not self._finishing:
            return wanted
        if self._waiting is None:
            self._waiting = sum(map(self._ledger.is_final, self._behind))
        waiting = max(1, self._waiting - self._seen)
        return max(0, min(wanted, self._budget(self._finishing, waiting, left) - self._added))

    def note(self, granted: int, wanted: int) -> None:
        """Take note of what a request got."""
        self._seen += 1
        if self._finishing:
            self._added += granted
        self._finishing += granted == wanted > 0


class _Walk:
    """The state of one walk down the ranking."""

    def __init__(self, ledger: BlockLedger, token_budget: int, slots: int) -> None:
        self._ledger = ledger
        self._slots = slots
        self._search = EvictionSearch(ledger)
        self._free = ledger.free_blocks()
        self.token_budget = token_budget
        self.seconds: float | None = None
        self.plan = StepPlan()
        # Who is part of the step keeps its blocks.
        self._kept: set[str] = set()

    @property
    def exhausted(self) -> bool:
        """Whether nothing more can be granted."""
        out_of_time = self.seconds is not None and self.seconds <= 0.0
        return out_of_time or self.token_budget <= 0 or len(self.plan.grants) >= self._slots

    @property
    def size(self) -> int:
        """How many requests are part of the step."""
        return len(self._kept)

    def start_with(self, grants: dict[str, int], blocks: int) -> None:
        """Take over grants made in bulk."""
        self.plan.grants = grants
        self._kept.update(grants)
        self.plan.reserved_blocks = blocks
        self.token_budget -= sum(grants.values())

    def grant(self, request_id: str, tokens: int) -> int:
        """Grant up to ``tokens`` and return how many were granted: all, or none."""
        tokens = min(tokens, self.token_budget)
        if self.seconds is not None:
            fitting = self._ledger.tokens_within(request_id, self.seconds)
            if not fitting:
                self.seconds = 0.0
            tokens = min(tokens, fitting)
        if tokens <= 0 or request_id in self._search.evictions:
            return 0
        needed = self._needed(request_id, tokens)
        lacking = self._lacking(needed) + self._ledger.reserve_blocks(request_id)
        if lacking > 0 and not self._search.find(request_id, lacking, self._kept):
            return 0
        self._take(request_id, tokens, needed)
        return tokens

    def restore(self, request_id: str, blocks: int) -> bool:
        """Let KV come back to ``blocks`` blocks; the request computes in a later step."""
        if request_id in self._search.evictions:
            return False
        lacking = self._lacking(blocks) + self._ledger.reserve_blocks(request_id)
        if lacking > 0 and not self._search.find(request_id, lacking, self._kept):
            return False
        self.plan.reserved_blocks += blocks
        self.plan.restores.append(request_id)
        self._kept.add(request_id)
        return True

    def fill_with_unsettled(self, ranked: Sequence[str], tokens: int) -> None:
        """Use what is left for tokens that are probably in vain; nobody is evicted for them."""
        for request_id in ranked:
            granted = self.plan.grants.get(request_id, 0)
            extra = min(self._ledger.unsettled_tokens(request_id), tokens, self.token_budget)
            if (
                extra <= 0
                or self._ledger.restore_blocks(request_id)
                or request_id in self._search.evictions
                or granted < self._ledger.wanted_tokens(request_id)
                or (not granted and len(self.plan.grants) >= self._slots)
            ):
                continue
            needed = self._needed(request_id, granted + extra)
            if granted:
                needed -= self._ledger.blocks_needed(request_id, granted)
            if self._lacking(needed) + self._ledger.reserve_blocks(request_id) <= 0:
                self._take(request_id, extra, needed)
                tokens -= extra

    def finished(self) -> StepPlan:
        """Return the plan."""
        self.plan.evictions = self._search.evictions
        return self.plan

    def _needed(self, request_id: str, tokens: int) -> int:
        hits = self._ledger.hit_blocks(request_id)
        # Where a victim was the last holder of a hit, the block comes off the free list again.
        taken_back = len(self._search.released.intersection(hits)) if hits else 0
        return self._ledger.blocks_needed(request_id, tokens) + taken_back

    def _lacking(self, needed: int) -> int:
        return self.plan.reserved_blocks + needed - self._free - self._search.found

    def _take(self, request_id: str, tokens: int, needed: int) -> None:
        if self.seconds is not None:
            self.seconds -= self._ledger.prefill_s(request_id, tokens)
        self._search.claim(self._ledger.hit_blocks(request_id))
        self.plan.reserved_blocks += needed
        self.plan.grants[request_id] = self.plan.grants.get(request_id, 0) + tokens
        self._kept.add(request_id)
        self.token_budget -= tokens
