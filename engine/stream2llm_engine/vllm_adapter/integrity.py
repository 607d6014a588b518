"""Invariants of the scheduler and the KV pool, cheap enough to check after every test."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_violations"]


def find_violations(scheduler: Any) -> list[str]:
    """Return what is inconsistent between two steps; an empty list means nothing is.

    Args:
        scheduler: A ``StreamScheduler`` with no step in flight.
    """
    return [
        *_block_violations(scheduler),
        *_place_violations(scheduler),
        *_backlog_violations(scheduler),
    ]


def _block_violations(scheduler: Any) -> Iterator[str]:
    pool = scheduler.kv_cache_manager.block_pool
    groups = scheduler.kv_cache_manager.coordinator.single_type_managers
    references: Counter[int] = Counter()
    for group in groups:
        for request_id, blocks in group.req_to_blocks.items():
            references.update(b.block_id for b in blocks if not b.is_null)
            if request_id not in scheduler.requests:
                yield f"{len(blocks)} blocks belong to {request_id}, which is gone"
        for request_id in group.num_cached_block:
            if request_id not in group.req_to_blocks:
                yield f"{request_id} counts cached blocks but holds none"
    if scheduler._swap is not None:
        references.update(block.block_id for block in scheduler._swap.device_blocks())
        in_use = scheduler._swap.host_blocks_in_use()
        space = scheduler._swap.space
        if in_use + space.free_blocks != space.total_blocks:
            yield f"{in_use} host blocks used, {space.free_blocks} of {space.total_blocks} free"
    free = 0
    for block in pool.blocks:
        if block.is_null:
            continue
        if block.ref_cnt != references[block.block_id]:
            yield (
                f"block {block.block_id} has {block.ref_cnt} references, "
                f"its holders {references[block.block_id]}"
            )
        free += block.ref_cnt == 0
    if free != pool.get_num_free_blocks():
        yield f"{free} blocks have no reference, the free list has {pool.get_num_free_blocks()}"


def _place_violations(scheduler: Any) -> Iterator[str]:
    places: Counter[str] = Counter(r.request_id for r in scheduler.running)
    places.update(scheduler._backlog.keys())
    places.update(scheduler._parked.keys())
    for queue in (scheduler.waiting, scheduler.kv_holding_waiting):
        places.update(r.request_id for r in queue)
    for request_id in scheduler.requests:
        if places[request_id] != 1:
            yield f"{request_id} is in {places[request_id]} places"
    for request_id in places:
        if request_id not in scheduler.requests:
            yield f"{request_id} is queued but unknown"
    for request_id, session in scheduler._sessions.items():
        request = session.request
        if scheduler.requests.get(request_id) is not request:
            yield f"session {request_id} has no request"
        held = sum(1 for _ in scheduler._kv.held(request_id))
        if scheduler._kv.can_truncate and held * scheduler.block_size < request.num_computed_tokens:
            yield f"{request_id} computed {request.num_computed_tokens} tokens in {held} blocks"
        if not session.finalized and request.num_computed_tokens > max(
            0, request.num_tokens - scheduler._hold
        ):
            yield f"open session {request_id} computed its held token"


def _backlog_violations(scheduler: Any) -> Iterator[str]:
    scheduler._refresh_keys()
    counted = scheduler._open_tokens.total
    there = sum(
        max(0, scheduler._remaining(session.request, session))
        for session in scheduler._sessions.values()
        if not session.finalized
    )
    if counted != there:
        yield f"open sessions have {there} tokens to compute, {counted} are counted"
