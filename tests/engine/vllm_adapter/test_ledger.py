"""Who gives up KV blocks to whom, on the real scheduler and KV manager (see shadow_runner)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stream2llm_profiles import SwapCost
from tests.engine.harness import BLOCK_SIZE, STEEP, SchedulerHarness
from tests.engine.vllm_adapter.test_scheduler import tokens

if TYPE_CHECKING:
    from stream2llm_profiles import HardwareProfile

POOL = 32


def moving_at(block_s: float) -> HardwareProfile:
    """Return the profile of a machine that moves a block in so many seconds."""
    swap = SwapCost(fixed_s=0.0, block_out_s=block_s, block_in_s=block_s, block_tokens=BLOCK_SIZE)
    return STEEP.model_copy(update={"swap": swap})


# A tenth of what computing the KV again costs; STEEP's own is next to nothing.
SOME = moving_at(0.05)


def test_two_sessions_that_do_not_fit_together_both_finish() -> None:
    harness = SchedulerHarness(blocks=20)
    for name in "ab":
        harness.open_session(name, tokens(200, seed=ord(name)))
    harness.run()
    for name in "ab":
        harness.append(name, tokens(80, seed=ord(name) + 1))
    harness.run()
    harness.ordinary("small", tokens(16, seed=9))
    harness.run()
    assert "small" in harness.finished
    for name in "ab":
        harness.finalize(name, tokens(3))
    harness.run()
    harness.check_drained()


def test_with_srpt_an_open_session_takes_no_blocks_until_it_is_final() -> None:
    harness = SchedulerHarness(blocks=20, policy="srpt")
    harness.open_session("old", tokens(200))
    harness.run()
    harness.open_session("young", tokens(250, seed=1))
    harness.run()
    assert harness.computed("old") == 199
    harness.finalize("young")
    harness.run()
    assert "young" in harness.finished
    harness.check()


def test_with_srpt_an_overdue_session_gives_way_to_an_open_one() -> None:
    harness = SchedulerHarness(blocks=20, policy="srpt")
    harness.open_session("abandoned", tokens(200))
    harness.run()
    harness.now_s += 3600.0
    harness.open_session("young", tokens(150, seed=1))
    harness.run()
    assert harness.computed("young") == 149
    assert harness.computed("abandoned") < 199
    harness.check()


def test_a_session_with_work_is_never_overdue() -> None:
    harness = SchedulerHarness(blocks=20, policy="srpt")
    harness.open_session("late", tokens(290))
    while harness.computed("late") < 200:
        harness.step()
    harness.now_s += 3600.0
    harness.open_session("young", tokens(150, seed=1), priority=-1)
    assert set(harness.step()) == {"late"}
    # Once it has nothing to compute, it may have been abandoned.
    harness.run()
    assert harness.computed("young") == 149
    harness.check()


@pytest.mark.parametrize("policy", ["fcfs", "lcas", "mcps", "srpt"])
def test_open_sessions_that_do_not_fit_together_come_to_rest(policy: str) -> None:
    harness = SchedulerHarness(blocks=20, policy=policy)
    for seed in range(4):
        harness.open_session(f"s{seed}", tokens(200, seed))
    # `run` fails if blocks go back and forth for ever.
    harness.run()
    for seed in range(4):
        harness.append(f"s{seed}", tokens(40, 10 + seed))
        harness.run()
    known = 4 * 240
    assert harness.scheduler.stream_stats().tokens["computed"] <= 3 * known
    for seed in range(4):
        harness.finalize(f"s{seed}")
        harness.run()
    harness.check_drained()


@pytest.mark.parametrize("profile", [STEEP, SOME])
@pytest.mark.parametrize(("preemption", "makes_room"), [("auto", True), ("recompute", False)])
def test_an_idle_session_makes_room_for_an_open_one_where_its_kv_moves_cheaply(
    preemption: Any, profile: HardwareProfile, *, makes_room: bool
) -> None:
    harness = SchedulerHarness(
        blocks=POOL, policy="srpt", profile=profile, preemption=preemption, host_blocks=200
    )
    harness.open_session("idle", tokens(400))
    harness.run()
    harness.open_session("new", tokens(300, seed=1))
    harness.run()
    assert (harness.computed("new") == 299) == makes_room
    assert "idle" in harness.scheduler._parked
    assert (harness.computed("idle") < 399) == makes_room
    stats = harness.scheduler.stream_stats()
    assert stats.idle_preemptions == sum(stats.preemptions.values())
    for session in ("idle", "new"):
        harness.finalize(session, tokens(5, seed=2), max_tokens=1)
        harness.run()
    assert (harness.scheduler.stream_stats().tokens["recomputed"] == 0) or not makes_room
    harness.check_drained()


@pytest.mark.parametrize(("profile", "gives_way"), [(STEEP, True), (SOME, False)])
def test_a_session_with_work_gives_way_only_where_moving_costs_next_to_nothing(
    profile: HardwareProfile, *, gives_way: bool
) -> None:
    harness = SchedulerHarness(
        blocks=POOL, policy="srpt", profile=profile, preemption="auto", host_blocks=200
    )
    harness.open_session("low", tokens(480))
    while harness.computed("low") < 400:
        harness.step()
    harness.open_session("high", tokens(300, seed=1), priority=-1)
    for _ in range(3):
        harness.step()
    assert harness.computed("low") < 479
    stats = harness.scheduler.stream_stats()
    assert (stats.preemptions["swap"] > 0) == gives_way
    assert stats.idle_preemptions == 0
    for session in ("low", "high"):
        harness.finalize(session, max_tokens=1)
        harness.run()
    harness.check_drained()


def test_open_sessions_leave_some_host_memory_to_final_prompts() -> None:
    harness = SchedulerHarness(
        blocks=POOL, policy="srpt", profile=STEEP, preemption="auto", host_blocks=16
    )
    harness.open_session("idle", tokens(400))
    harness.run()
    harness.evict("idle", 11)
    before = harness.computed("idle")
    harness.open_session("new", tokens(300, seed=1))
    harness.run()
    assert harness.computed("idle") == before
    assert harness.computed("new") < 299
    harness.finalize("new", max_tokens=1)
    harness.run()
    assert harness.computed("idle") < before
    harness.finalize("idle", max_tokens=1)
    harness.run()
    assert harness.scheduler.stream_stats().tokens["recomputed"] == 0
    harness.check_drained()
