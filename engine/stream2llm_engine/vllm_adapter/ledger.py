"""The planner's view of one scheduler step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream2llm_engine.vllm_adapter.ranking import ALL_SETTLED, DECODING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from vllm.v1.request import Request

    from stream2llm_engine.policies import Policy
    from stream2llm_engine.vllm_adapter.core_session import CoreSession

__all__ = ["StepLedger"]

# No pause is shorter, whatever was predicted.
_SHORTEST_PAUSE_S = 0.05
# Who is later than this many times what was predicted, and these seconds, may have been abandoned.
_OVERDUE_FACTOR = 4.0
_OVERDUE_S = 5.0
# How much moving KV may cost, as a share of computing it again, where open sessions have that of
# idle ones, or of ones with work that rank below, moved to host memory.
_IDLE_MOVES = 0.5
_BUSY_MOVES = 0.05
# Share of host memory that open sessions do not use as more KV cache.
_HOST_RESERVE = 0.4
_NO_BLOCKS: tuple[int, ...] = ()


class StepLedger:
    """Answers the planner's questions for one step; prefix-cache look-ups are made once.

    Args:
        scheduler: The scheduler, between two steps.
        now_s: The time of the step, on the clock of the operations.
    """

    def __init__(self, scheduler: Any, now_s: float) -> None:
        self._scheduler = scheduler
        self._now_s = now_s
        self._kv = scheduler._kv
        self._requests: dict[str, Request] = scheduler.requests
        self._sessions = scheduler._sessions
        self._keys = scheduler._keys
        self._policy: Policy = scheduler._policy
        self._holds_back = self._policy.holds_back_unsettled
        self._reserve = int(self._policy.reserve * self._kv.total_blocks)
        self._hits: dict[str, tuple[Any, int, Sequence[int]]] = {}
        self._tenants: dict[str, str] = scheduler._tenants
        self._is_shared: bool = scheduler._is_shared()
        self._waived = False
        self._step_blocks: int = scheduler.max_num_scheduled_tokens // self._kv.block_size
        self.can_cut: bool = self._kv.can_truncate

    def undisputed(
        self, ranked: Sequence[str], tokens: int, slots: int
    ) -> tuple[dict[str, int], int]:
        """Return grants for the running answers at the head of the ranking, and their blocks."""
        grants: dict[str, int] = {}
        if not self.can_cut:
            return grants, 0
        requests, keys, held_by = self._requests, self._keys, self._kv.held_by
        swap = self._scheduler._swap
        lookahead, block_size = self._kv.lookahead_tokens, self._kv.block_size
        longest = self._kv.max_model_len
        free = self._kv.free_blocks
        blocks = 0
        for request_id in ranked:
            if keys[request_id][0] != DECODING or len(grants) >= slots:
                break
            if swap is not None and swap.is_away(request_id):
                break
            request = requests[request_id]
            computed = request.num_computed_tokens
            end = (
                len(request._all_token_ids)
                + len(request.spec_token_ids)
                + request.num_output_placeholders
            )
            wanted = end - computed
            if wanted <= 0 or not computed:
                break
            needed = -(-min(end + lookahead, longest) // block_size) - len(held_by[request_id])
            if wanted > tokens or (needed > 0 and blocks + needed > free):
                break
            grants[request_id] = wanted
            tokens -= wanted
            if needed > 0:
                blocks += needed
        return grants, blocks

    def wanted_tokens(self, request_id: str) -> int:
        """Return how many tokens the request should compute now."""
        request = self._requests[request_id]
        session = self._sessions.get(request_id)
        wanted = self._scheduler._remaining(request, session)
        if self._holds_back and session is not None and not session.finalized:
            wanted = min(wanted, session.settled_tokens - self._scheduler._in_place(request))
        if not request.num_computed_tokens:
            wanted -= self._hit(request)[1]
        return int(wanted)

    def prefill_s(self, request_id: str, tokens: int) -> float:
        """Return the seconds that the request's next ``tokens`` add to a step."""
        return float(self._scheduler._cost.prefill_s(tokens, self._known(request_id)))

    def tokens_within(self, request_id: str, seconds: float) -> int:
        """Return how many of its next tokens the request computes in that time."""
        return int(self._scheduler._cost.tokens_added_within(seconds, self._known(request_id)))

    def restore_blocks(self, request_id: str) -> int:
        """Return the blocks that the request's KV in host memory has to come back to first."""
        swap = self._scheduler._swap
        return swap.restore_blocks(request_id) if swap is not None else 0

    def unsettled_tokens(self, request_id: str) -> int:
        """Return how many more it could compute that an update will probably replace."""
        session = self._sessions.get(request_id)
        if not self._holds_back or session is None or session.finalized:
            return 0
        request = self._requests[request_id]
        known = request.num_computed_tokens or self._hit(request)[1]
        remaining = self._scheduler._remaining(request, session)
        remaining += self._scheduler._in_place(request)
        return int(remaining - max(session.settled_tokens, known))

    def is_final(self, request_id: str) -> bool:
        """Return whether the prompt is complete."""
        session = self._sessions.get(request_id)
        return session is None or bool(session.finalized)

    def may_evict(self, request_id: str) -> bool:
        """Return whether the request may take blocks from others at all.

        An idle session that lost KV gets it back from free blocks only, or sessions would take
        blocks from each other in turn.
        """
        session = self._sessions.get(request_id)
        return session is None or not session.refill

    def may_take_from(self, request_id: str, victim_id: str) -> bool:
        """Return whether the first request may take blocks from the second.

        A tenant's requests leave those alone whose tenants have had less. Idle sessions give way to
        every finalized prompt, or they could keep it waiting for ever.
        """
        final = self.is_final(request_id)
        victim = self._sessions.get(victim_id)
        is_open = victim is not None and not victim.finalized
        if final and is_open and (self._waived or self._is_idle(victim_id)):
            return True
        if self._has_had_more(request_id, victim_id):
            return False
        if self._policy.open_takes_blocks or final:
            return bool(self._keys[request_id] < self._keys[victim_id])
        if not is_open:
            return False
        # Where KV moves cheaply, what is scarce is time to compute, not memory: who has nothing to
        # compute now makes room for who has. So does who ranks below, but that can go back and
        # forth, so only where moving costs next to nothing.
        if victim_id in self._scheduler._parked:
            most = _IDLE_MOVES
        else:
            most = _BUSY_MOVES if self._keys[request_id] < self._keys[victim_id] else 0.0
        return self._is_overdue(victim) or (
            most > 0.0
            # KV that an update may replace is worth nobody's being moved for it.
            and self._sessions[request_id].settled_tokens >= ALL_SETTLED
            and self._moves_for(most, victim.request)
        )

    def kind_of_taker(self, request_id: str) -> Hashable:
        """Return with whom the request can be compared in what it may take."""
        tenant = self._tenants[request_id] if self._is_shared else None
        return tenant, self.is_final(request_id)

    def waive(self) -> bool:
        """Let finalized prompts take blocks across tenants and priorities; false if they could."""
        applies = not self._waived and (self._is_shared or self._scheduler._prioritized)
        self._waived = True
        return bool(applies)

    def _moves_for(self, most: float, victim: Request) -> bool:
        """Return whether the victim's KV has room in host memory and moves for so little.

        Some of the room is left to victims of finalized prompts, which will not wait.

        Args:
            most: Share of what computing the KV again costs.
            victim: Whose KV it is.
        """
        swap = self._scheduler._swap
        if swap is None:
            return False
        left = max(_HOST_RESERVE * swap.space.total_blocks, self._step_blocks)
        if swap.space.free_blocks < left:
            return False
        share = self._scheduler._chooser.moving_share(
            context=victim.num_computed_tokens,
            token_bytes=swap.block_bytes / self._kv.block_size,
        )
        return bool(share < most)

    def _is_idle(self, session_id: str) -> bool:
        return session_id in self._scheduler._parked or self._sessions[session_id].refill

    def _has_had_more(self, request_id: str, victim_id: str) -> bool:
        if self._waived or not self._is_shared:
            return False
        served = self._scheduler._shares.served
        return bool(served(self._tenants[request_id]) > served(self._tenants[victim_id]))

    def reserve_blocks(self, request_id: str) -> int:
        """Return the free blocks that the request has to leave to others."""
        session = self._sessions.get(request_id)
        if session is None or session.finalized:
            return 0
        if session.request.num_computed_tokens and not session.refill:
            return 0
        return self._reserve

    def free_blocks(self) -> int:
        """Return how many blocks can be allocated without evicting anybody."""
        return int(self._kv.free_blocks)

    def blocks_needed(self, request_id: str, tokens: int) -> int:
        """Return the blocks that leave the free list if the request computes ``tokens`` more."""
        request = self._requests[request_id]
        computed = request.num_computed_tokens
        if computed:
            return int(self._kv.blocks_needed(request, tokens, computed, None))
        blocks, reused, _ = self._hit(request)
        return int(self._kv.blocks_needed(request, tokens, reused, blocks if reused else None))

    def hit_blocks(self, request_id: str) -> Sequence[int]:
        """Return the ids of blocks in use by others that the prefix cache would share with it."""
        hit = self._hits.get(request_id)
        return hit[2] if hit is not None else _NO_BLOCKS

    def tail_blocks(self, request_id: str) -> Iterator[tuple[int, int]]:
        """Yield ``(block id, number of holders)`` of what the request holds, tail first."""
        tail: Iterator[tuple[int, int]] = self._kv.tail_blocks(request_id)
        return tail

    def victims(self) -> list[str]:
        """Return everybody who holds blocks, the cheapest to take them from first."""
        swap = self._scheduler._swap
        prices = [
            (self._price(self._requests[holder]), holder)
            for holder in self._kv.holders()
            if holder in self._keys and not (swap is not None and swap.is_restoring(holder))
        ]
        prices.sort(reverse=True)
        return [holder for _, holder in prices]

    def _price(self, request: Request) -> tuple[Any, ...]:
        """Return what makes a request a better victim the larger it is."""
        key = self._keys[request.request_id]
        # Whoever is reading an answer is the last to be interrupted.
        answering = key[0] == DECODING
        session = self._sessions.get(request.request_id)
        if not self._policy.prices_victims or session is None or session.finalized:
            return (not answering, 0.0, key)
        cost = self._scheduler._cost
        block_s = cost.tail_price_s(request.num_computed_tokens, self._kv.block_size)
        return (True, self._pause_s(session) / block_s, key)

    def _pause_s(self, session: CoreSession) -> float:
        """Return the seconds until the session's KV is expected to be needed for its answer.

        One that is overdue has shown to be slow: as much again is expected.
        """
        return max(abs(session.expected_final_s - self._now_s), _SHORTEST_PAUSE_S)

    def _is_overdue(self, session: CoreSession) -> bool:
        """Return whether the session may have been abandoned; one with work waits for us."""
        if not self._is_idle(session.request.request_id):
            return False
        predicted_s = session.expected_final_s - session.history.last_event_s
        late_s = self._now_s - session.expected_final_s
        return late_s > _OVERDUE_FACTOR * predicted_s + _OVERDUE_S

    def _known(self, request_id: str) -> int:
        """Return the tokens in front of those that the request computes next."""
        request = self._requests[request_id]
        return int(request.num_computed_tokens or self._hit(request)[1])

    def _hit(self, request: Request) -> tuple[Any, int, Sequence[int]]:
        hit = self._hits.get(request.request_id)
        if hit is None:
            blocks, tokens, _, _ = self._scheduler._get_local_prefix_cache_hit(request)
            shared = [
                b.block_id
                for group in blocks.blocks
                for b in group
                if b.ref_cnt > 0 and not b.is_null
            ]
            hit = self._hits[request.request_id] = (blocks, tokens, shared)
        return hit
