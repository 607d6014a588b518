"""Sessions on the real scheduler and KV cache manager, without a model (see shadow_runner)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vllm.v1.core.sched.interface import PauseState

from stream2llm_engine.cost_model import TILE_TOKENS
from stream2llm_engine.wire import OperationKind
from stream2llm_profiles import PrefillCost
from tests.engine.harness import BLOCK_SIZE, STEEP, SchedulerHarness

if TYPE_CHECKING:
    from collections.abc import Callable


def tokens(count: int, seed: int = 0) -> list[int]:
    return [(seed * 7919 + i * 31) % 997 for i in range(count)]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def harness(request: pytest.FixtureRequest) -> SchedulerHarness:
    return SchedulerHarness(asynchronous=request.param)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 33, 100, 300])
def test_open_session_computes_all_but_the_held_token(
    harness: SchedulerHarness, length: int
) -> None:
    harness.open_session("s", tokens(length))
    harness.run()
    assert harness.computed("s") == length - 1
    assert harness.runner.sampled == []
    harness.check()


@pytest.mark.parametrize("extra", [0, 1, 2, 40])
@pytest.mark.parametrize("length", [1, 16, 17, 70])
def test_finalize_decodes_with_any_number_of_new_tokens(
    harness: SchedulerHarness, length: int, extra: int
) -> None:
    harness.open_session("s", tokens(length))
    harness.run()
    harness.finalize("s", tokens(extra, seed=3))
    harness.run()
    harness.check_drained()


def test_the_step_in_progress_does_not_count_as_prefilled_before_the_final_context(
    harness: SchedulerHarness,
) -> None:
    harness.open_session("s", tokens(100))
    harness.run()
    harness.append("s", tokens(50, 1))
    harness.now_s += 2.0
    harness.run()
    harness.now_s -= 1.0  # sent while that step was running
    harness.finalize("s")
    report = next(r for r in harness.scheduler.take_progress() if r.session_id == "s")
    assert report.prefilled_before_final == 99
    harness.run()
    harness.check_drained()


def test_finalize_before_the_first_step(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(50))
    harness.append("s", tokens(50, seed=1))
    harness.finalize("s", tokens(5, seed=2))
    harness.run()
    harness.check_drained()


def test_append_computes_only_the_new_tokens(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(100))
    harness.run()
    harness.append("s", tokens(30, seed=1))
    assert harness.step() == {"s": 30}
    harness.finalize("s")
    harness.run()
    harness.check_drained()


UPDATES: dict[str, Callable[[list[int]], list[int]]] = {
    "identical": lambda old: old,
    "grow": lambda old: [*old, *tokens(40, seed=5)],
    "shrink": lambda old: old[:61],
    "shrink to one": lambda old: old[:1],
    "nothing in common": lambda old: tokens(90, seed=6),
    "inside a block": lambda old: old[:43] + tokens(60, seed=7),
    "at a block edge": lambda old: old[:48] + tokens(60, seed=8),
    "last token only": lambda old: [*old[:-1], 998],
}


@pytest.mark.parametrize("prefix_caching", [True, False])
@pytest.mark.parametrize("steps_before", [0, 1, 10])
@pytest.mark.parametrize("name", UPDATES)
def test_update(name: str, steps_before: int, *, prefix_caching: bool) -> None:
    harness = SchedulerHarness(token_budget=64, prefix_caching=prefix_caching)
    harness.open_session("s", tokens(100))
    for _ in range(steps_before):
        harness.step()
    harness.update("s", UPDATES[name](tokens(100)))
    harness.check()
    harness.run()
    harness.finalize("s", tokens(4, seed=9))
    harness.run()
    harness.check_drained()


def test_update_keeps_the_common_prefix_to_a_block_edge(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(100))
    harness.run()
    harness.update("s", tokens(100)[:43] + tokens(60, seed=7))
    assert harness.computed("s") == 43 // BLOCK_SIZE * BLOCK_SIZE
    (report,) = harness.scheduler.take_progress()
    assert report.invalidated_tokens == 99 - 43


def test_update_takes_a_returning_document_from_the_prefix_cache(
    harness: SchedulerHarness,
) -> None:
    first, second = tokens(160), tokens(32, seed=1) + tokens(160)
    harness.open_session("s", first)
    harness.run()
    harness.update("s", second)
    harness.run()
    harness.update("s", first)
    harness.run()
    (report,) = harness.scheduler.take_progress()
    assert report.reused_tokens >= 128
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_counters_are_told_before_the_step_that_finishes_hands_out_its_output(
    harness: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.ordinary("o", tokens(160))
    harness.run()
    told: list[int] = []
    harness.scheduler.progress_sink = lambda reports: told.extend(r.reused_tokens for r in reports)
    update = type(harness.scheduler).update_from_output
    told_with_output: list[list[int]] = []

    def watched(self: Any, *args: Any) -> Any:
        outputs = update(self, *args)
        told_with_output.append(list(told))
        return outputs

    monkeypatch.setattr(type(harness.scheduler), "update_from_output", watched)
    harness.open_session("s", tokens(160)[:1])
    harness.finalize("s", tokens(160)[1:], max_tokens=1)
    harness.run()
    assert max(told_with_output[-1]) >= 128
    harness.check_drained()


def test_several_updates_before_one_step(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(100))
    harness.step()
    for seed in range(5):
        harness.update("s", tokens(30) + tokens(50, seed=seed))
        harness.append("s", tokens(7, seed=seed))
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_update_of_an_evicted_session(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(300))
    harness.run()
    harness.ordinary("big", tokens(450, seed=2))
    while harness.computed("s") == 299:
        harness.step()
    harness.update("s", tokens(200) + tokens(50, seed=4))
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_idle_sessions_use_no_slots_and_do_not_keep_the_engine_busy() -> None:
    harness = SchedulerHarness(slots=2)
    for index in range(12):
        harness.open_session(f"s{index}", tokens(20, seed=index))
    harness.run()
    assert not harness.scheduler.has_requests()
    harness.ordinary("o", tokens(40, seed=99))
    harness.run()
    assert "o" in harness.finished
    harness.check()


def test_finalized_requests_go_before_open_ones() -> None:
    harness = SchedulerHarness(token_budget=32)
    harness.open_session("long", tokens(400))
    harness.open_session("ready", tokens(20, seed=1))
    harness.step()
    harness.finalize("ready", max_tokens=1)
    harness.step()
    assert "ready" in harness.finished
    harness.check()


def test_under_pressure_a_victim_keeps_its_prefix() -> None:
    harness = SchedulerHarness(blocks=32)
    harness.open_session("s", tokens(400))
    harness.run()
    # 25 of 31 blocks are held; a step of 128 tokens needs 8.
    harness.ordinary("big", tokens(300, seed=1))
    harness.step()
    assert harness.computed("s") == 23 * BLOCK_SIZE
    harness.run()
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_a_decoding_request_survives_eviction() -> None:
    harness = SchedulerHarness(blocks=14, max_model_len=256)
    harness.ordinary("first", tokens(60), max_tokens=100)
    harness.ordinary("second", tokens(60, seed=1), max_tokens=100)
    harness.run()
    assert harness.scheduler.stream_stats().preemptions["recompute"] > 0
    harness.check_drained()


@pytest.mark.parametrize("after", ["open", "steps", "append", "update", "evicted", "finalize"])
def test_abort_in_every_state_frees_everything(after: str) -> None:
    harness = SchedulerHarness(blocks=30)
    harness.open_session("s", tokens(300))
    if after != "open":
        harness.run()
    if after == "append":
        harness.append("s", tokens(30, seed=1))
    elif after == "update":
        harness.update("s", tokens(100) + tokens(30, seed=1))
    elif after == "evicted":
        harness.ordinary("big", tokens(400, seed=2))
        harness.run()
    elif after == "finalize":
        harness.finalize("s", max_tokens=50)
        harness.step()
        harness.step()
    harness.abort("s")
    harness.answers.pop("s", None)
    harness.run()
    harness.check_drained()


def test_operations_on_unknown_or_final_sessions_are_dropped(harness: SchedulerHarness) -> None:
    harness.prompts["ghost"] = []
    harness.append("ghost", tokens(5))
    assert not harness.scheduler.requests
    harness.open_session("s", tokens(40))
    harness.finalize("s")
    final = list(harness.prompts["s"])
    harness.append("s", tokens(5))
    harness.prompts["s"] = final
    harness.run()
    harness.check_drained()


def test_finalizing_a_session_that_is_gone_is_reported(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(20))
    harness.run()
    harness.abort("s")
    harness.scheduler.take_progress()
    harness.finalize("s")
    (report,) = harness.scheduler.take_progress()
    assert report.error is not None
    assert "send the request again" in report.error
    harness.asked.clear()
    harness.answers.clear()
    harness.run()
    harness.check_drained()


def test_an_operation_without_the_secret_is_an_ordinary_request(harness: SchedulerHarness) -> None:
    harness.prompts["s"] = tokens(20)
    harness.asked["s"] = 1
    harness.answers["s"] = []
    harness.send(OperationKind.OPEN, "s", tokens(20), secret="guessed")
    harness.run()
    assert "s" in harness.finished
    harness.check_drained()


def test_a_failing_operation_fails_its_session_only(
    harness: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.open_session("s", tokens(40))
    harness.ordinary("o", tokens(40, seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(harness.scheduler, "_replace", lambda *_: 1 / 0)
        harness.update("s", tokens(10))
    (report,) = harness.scheduler.take_progress()
    assert report.error is not None
    assert "ZeroDivisionError" in report.error
    harness.run()
    harness.check_drained()


def test_prefix_cache_reset_with_parked_and_running_sessions(harness: SchedulerHarness) -> None:
    harness.open_session("parked", tokens(100))
    harness.run()
    harness.open_session("busy", tokens(300, seed=1))
    harness.step()
    assert harness.scheduler.reset_prefix_cache(reset_running_requests=True)
    harness.check()
    for name in ("parked", "busy"):
        harness.finalize(name, tokens(3))
    harness.run()
    harness.check_drained()


def test_a_prompt_whose_prefix_is_cached_to_the_last_block_blocks_nobody(
    harness: SchedulerHarness,
) -> None:
    shared = tokens(3 * BLOCK_SIZE + 1)
    harness.open_session("a", shared)
    harness.run()
    harness.open_session("b", shared)
    harness.ordinary("o", tokens(40, seed=1))
    harness.run()
    assert "o" in harness.finished
    assert harness.computed("b") == 3 * BLOCK_SIZE
    harness.check()


def test_a_paused_engine_keeps_parked_sessions(harness: SchedulerHarness) -> None:
    harness.open_session("parked", tokens(60))
    harness.run()
    harness.open_session("busy", tokens(300, 1))
    harness.step()
    harness.scheduler.set_pause_state(PauseState.PAUSED_ALL)
    harness.append("parked", tokens(20, 2))
    for _ in range(3):
        assert harness.step() == {}
    while harness._in_flight:
        harness.deliver()
    harness.check()
    harness.scheduler.set_pause_state(PauseState.UNPAUSED)
    for name in ("parked", "busy"):
        harness.finalize(name)
    harness.run()
    harness.check_drained()


def test_steps_of_open_sessions_are_whole_tiles_unless_that_takes_another_step() -> None:
    # 30 ms are 75 tokens.
    prices = PrefillCost(step_overhead_s=0.0, token_s=4e-4, token_context_s=0.0)
    profile = STEEP.model_copy(update={"prefill": prices})
    harness = SchedulerHarness(policy="srpt", profile=profile)
    harness.open_session("long", tokens(200))
    assert [harness.step()["long"] for _ in range(3)] == [TILE_TOKENS, TILE_TOKENS, 71]
    harness.ordinary("answer", tokens(16, seed=1), max_tokens=30)
    harness.step()
    harness.open_session("beside", tokens(200, seed=2))
    assert harness.step() == {"answer": 1, "beside": TILE_TOKENS - 1}
