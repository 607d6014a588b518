"""KV in host memory, on the real scheduler and KV manager (see shadow_runner, shadow_swap)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from stream2llm_engine.vllm_adapter.swap_connector import SwapReport
from tests.engine.harness import BLOCK_SIZE, STEEP, SchedulerHarness
from tests.engine.vllm_adapter.test_scheduler import tokens

if TYPE_CHECKING:
    from stream2llm_engine.vllm_adapter.kv_swap import KvSwap

PROMPT = 400
# 25 blocks of the session and 19 of the other one do not fit into 31.
POOL = 32


def swapping(*, asynchronous: bool = False, host_blocks: int = 60, **more: Any) -> SchedulerHarness:
    return SchedulerHarness(
        blocks=POOL,
        preemption="swap",
        host_blocks=host_blocks,
        asynchronous=asynchronous,
        **more,
    )


def swap_of(harness: SchedulerHarness) -> KvSwap:
    swap: KvSwap = harness.scheduler._swap
    return swap


def swapped_out(harness: SchedulerHarness) -> None:
    """Open a session of 400 tokens and let an ordinary request push its tail out."""
    harness.open_session("s", tokens(PROMPT))
    harness.run()
    harness.ordinary("big", tokens(300, seed=1))
    harness.run()
    assert swap_of(harness).is_away("s")
    assert harness.computed("s") < PROMPT - 1
    harness.check()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def harness(request: pytest.FixtureRequest) -> SchedulerHarness:
    return swapping(asynchronous=request.param)


def test_what_was_swapped_is_not_computed_again(harness: SchedulerHarness) -> None:
    swapped_out(harness)
    before = harness.scheduler.stream_stats().tokens["computed"]
    harness.finalize("s", tokens(20, seed=2), max_tokens=1)
    harness.run()
    stats = harness.scheduler.stream_stats()
    assert stats.tokens["computed"] == before + 21
    assert stats.tokens["recomputed"] == 0
    assert stats.preemptions["swap"] >= 1
    assert stats.preemptions["recompute"] == 0
    harness.check_drained()


def test_an_idle_session_stays_parked_while_its_kv_is_away(harness: SchedulerHarness) -> None:
    swapped_out(harness)
    assert "s" in harness.scheduler._parked
    assert not harness.scheduler.has_requests()


def test_an_append_brings_it_back(harness: SchedulerHarness) -> None:
    swapped_out(harness)
    harness.append("s", tokens(30, seed=3))
    harness.run()
    assert harness.computed("s") == PROMPT + 29
    assert not swap_of(harness).is_away("s")
    harness.finalize("s")
    harness.run()
    harness.check_drained()


@pytest.mark.parametrize("keep", [0, 10, 200, 390, PROMPT])
@pytest.mark.parametrize("prefix_caching", [True, False])
def test_an_update_keeps_the_common_prefix_wherever_it_is(
    keep: int, *, prefix_caching: bool
) -> None:
    harness = swapping(prefix_caching=prefix_caching)
    swapped_out(harness)
    harness.update("s", tokens(PROMPT)[:keep] + tokens(50, seed=4))
    harness.check()
    harness.run()
    harness.finalize("s", tokens(3, seed=5))
    harness.run()
    harness.check_drained()


@pytest.mark.parametrize("preemption", ["swap", "auto"])
def test_prompts_that_fit_only_one_by_one_do_not_push_each_other_out_for_ever(
    preemption: Any,
) -> None:
    harness = SchedulerHarness(
        blocks=POOL,
        token_budget=64,
        policy="srpt",
        profile=STEEP,
        preemption=preemption,
        host_blocks=200,
    )
    # What is left of a prompt is cheaper to compute where less of its context is on the device.
    harness.open_session("a", tokens(400))
    harness.run()
    harness.evict("a", 15)
    harness.open_session("b", tokens(300, seed=1))
    harness.run()
    harness.finalize("a", tokens(80, seed=2), max_tokens=1)
    harness.finalize("b", tokens(100, seed=3), max_tokens=1)
    harness.run()
    assert harness.scheduler.stream_stats().preemptions["swap"] >= 2
    harness.check_drained()


def restoring(harness: SchedulerHarness) -> None:
    """Let the session's KV be on its way back and stay there."""
    swapped_out(harness)
    harness.swap.delay = 3
    harness.append("s", tokens(30, seed=3))
    harness.step()
    assert swap_of(harness).is_restoring("s")
    harness.check()


@pytest.mark.parametrize("keep", [0, 10, 200, 390])
def test_an_update_while_kv_is_on_its_way_back(harness: SchedulerHarness, keep: int) -> None:
    restoring(harness)
    harness.update("s", tokens(PROMPT)[:keep] + tokens(50, seed=4))
    harness.check()
    harness.run()
    harness.finalize("s", tokens(3, seed=5))
    harness.run()
    harness.check_drained()


def test_finalize_while_kv_is_on_its_way_back(harness: SchedulerHarness) -> None:
    restoring(harness)
    harness.finalize("s", tokens(3, seed=5))
    harness.run()
    harness.check_drained()


@pytest.mark.parametrize("state", ["away", "back"])
def test_abort_frees_both_sides_once_the_copy_has_ended(
    harness: SchedulerHarness, state: str
) -> None:
    (swapped_out if state == "away" else restoring)(harness)
    harness.abort("s")
    harness.check()
    assert swap_of(harness).busy == (state == "back")
    harness.run()
    harness.check_drained()


def test_a_full_host_pool_falls_back_to_recompute() -> None:
    harness = swapping(host_blocks=3)
    harness.open_session("s", tokens(PROMPT))
    harness.run()
    harness.ordinary("big", tokens(480, seed=1))
    harness.run()
    stats = harness.scheduler.stream_stats()
    assert stats.preemptions["recompute"] >= 1
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_a_failed_copy_back_is_computed_again(harness: SchedulerHarness) -> None:
    swapped_out(harness)
    harness.swap.back_fails = True
    harness.finalize("s", tokens(5, seed=2))
    harness.run()
    assert harness.scheduler.stream_stats().tokens["recomputed"] > 0
    harness.check_drained()


def test_a_failed_copy_out_is_computed_again(harness: SchedulerHarness) -> None:
    harness.swap.out_fails = True
    harness.open_session("s", tokens(PROMPT))
    harness.run()
    harness.ordinary("big", tokens(300, seed=1))
    harness.run()
    assert not swap_of(harness).is_away("s")
    harness.finalize("s", tokens(5, seed=2))
    harness.run()
    harness.check_drained()


def test_a_late_copy_back_holds_up_nobody_else(harness: SchedulerHarness) -> None:
    restoring(harness)
    harness.ordinary("other", tokens(20, seed=6), max_tokens=1)
    harness.step()
    harness.step()
    harness.step()
    assert "other" in harness.finished
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_a_copy_back_waits_for_every_worker() -> None:
    harness = swapping()
    restoring(harness)
    harness.scheduler._workers = 2
    (restore_id,) = swap_of(harness)._restores
    harness.scheduler._on_swap_report(SwapReport(restored=Counter({restore_id: 1})))
    assert swap_of(harness).is_restoring("s")
    harness.swap._running.clear()
    harness.scheduler._on_swap_report(
        SwapReport(restored=Counter({restore_id: 1})).aggregate(SwapReport())
    )
    assert not swap_of(harness).is_restoring("s")
    assert harness.computed("s") == PROMPT - 1


def test_a_prefix_cache_reset_drops_host_copies(harness: SchedulerHarness) -> None:
    swapped_out(harness)
    assert harness.scheduler.reset_prefix_cache(reset_running_requests=True)
    assert swap_of(harness).host_blocks_in_use() == 0
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_evicting_twice_keeps_the_host_copy_in_one_piece() -> None:
    harness = swapping()
    harness.open_session("s", tokens(PROMPT))
    harness.run()
    harness.evict("s", 5)
    harness.evict("s", 7)
    assert harness.computed("s") == (25 - 12) * BLOCK_SIZE
    assert swap_of(harness).restore_blocks("s") == 12
    harness.finalize("s", tokens(4, seed=2))
    harness.run()
    assert harness.scheduler.stream_stats().tokens["recomputed"] == 0
    harness.check_drained()


def test_an_answer_is_swapped_and_goes_on() -> None:
    harness = swapping()
    harness.ordinary("first", tokens(60), max_tokens=60)
    for _ in range(8):
        harness.step()
    harness.evict("first", 2)
    harness.run()
    assert harness.scheduler.stream_stats().preemptions["swap"] == 1
    harness.check_drained()
