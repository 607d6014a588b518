"""One test for each way in which streamed prompts have broken vLLM.

The names are those of the upstream symptoms. Where another file has the test already, the docstring
there says the same thing at greater length; these are the shortest forms, on the real scheduler.
"""

from __future__ import annotations

import pytest

from tests.engine.harness import BLOCK_SIZE, SchedulerHarness


def tokens(count: int, seed: int = 0) -> list[int]:
    return [(seed * 7919 + i * 31) % 997 for i in range(count)]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def harness(request: pytest.FixtureRequest) -> SchedulerHarness:
    return SchedulerHarness(asynchronous=request.param)


def test_stale_block_hash_after_an_update(harness: SchedulerHarness) -> None:
    """A block rewritten under its old hash would answer another request from wrong KV."""
    old, new = tokens(100), tokens(40) + tokens(60, 1)
    harness.open_session("s", old)
    harness.run()
    harness.update("s", new)
    harness.run()
    for name, prompt in (("old", old), ("new", new)):
        harness.ordinary(name, [*prompt, 1])
    harness.run()
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_parked_sessions_deadlock_the_engine() -> None:
    """Two resumed sessions, neither fits, nothing was ever scheduled again."""
    harness = SchedulerHarness(blocks=18)
    for name in "ab":
        harness.open_session(name, tokens(120, ord(name)))
    harness.run()
    for name in "ab":
        harness.finalize(name, tokens(100, ord(name) + 5))
    harness.ordinary("behind", tokens(16, 3))
    harness.run()
    harness.check_drained()


def test_update_while_a_step_is_in_flight(harness: SchedulerHarness) -> None:
    """The result of the step before the update must not be taken for the new prompt."""
    harness.open_session("s", tokens(200))
    harness.step()
    harness.update("s", tokens(30) + tokens(50, 1))
    harness.step()
    harness.update("s", tokens(20) + tokens(90, 2))
    harness.step()
    harness.finalize("s", tokens(3))
    harness.run()
    harness.check_drained()


def test_finalize_while_a_step_is_in_flight(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(100))
    harness.step()
    harness.finalize("s", max_tokens=5)
    harness.step()
    harness.run()
    harness.check_drained()


def test_abort_while_a_step_is_in_flight(harness: SchedulerHarness) -> None:
    """Output of an aborted request arrived for an unknown one and ended the core."""
    harness.open_session("s", tokens(100))
    harness.ordinary("o", tokens(40, 1), max_tokens=20)
    harness.step()
    harness.finalize("s", max_tokens=20)
    harness.step()
    harness.abort("s")
    harness.answers.pop("s")
    harness.run()
    harness.check_drained()


def test_placeholders_go_negative_when_a_decoding_request_is_evicted(
    harness: SchedulerHarness,
) -> None:
    harness = SchedulerHarness(blocks=14, max_model_len=256, asynchronous=harness.depth == 2)
    for index in range(3):
        harness.ordinary(f"o{index}", tokens(50, index), max_tokens=60)
    harness.run()
    assert harness.scheduler.stream_stats().preemptions["recompute"] > 0
    harness.check_drained()


def test_double_update_with_prefix_reuse(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(120))
    harness.run()
    harness.update("s", tokens(64) + tokens(30, 1))
    harness.update("s", tokens(64) + tokens(30, 1) + tokens(50, 2))
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_a_chunk_without_tokens(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(48))
    harness.run()
    harness.append("s", [])
    harness.run()
    harness.finalize("s", [])
    harness.run()
    harness.check_drained()


def test_a_chunk_after_an_abort_opens_nothing(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(48))
    harness.run()
    harness.abort("s")
    harness.append("s", tokens(10))
    harness.finalize("s")
    harness.asked.pop("s")
    harness.answers.pop("s")
    harness.run()
    harness.check_drained()


def test_parked_sessions_use_up_the_request_slots(harness: SchedulerHarness) -> None:
    for index in range(20):
        harness.open_session(f"s{index}", tokens(8, index))
        harness.run()
    harness.ordinary("o", tokens(30, 99))
    harness.run()
    assert "o" in harness.finished
    harness.check()


def test_a_request_with_nothing_to_compute_stops_the_waiting_queue(
    harness: SchedulerHarness,
) -> None:
    harness.open_session("one token", [7])
    harness.ordinary("o", tokens(40, 1))
    harness.run()
    assert "o" in harness.finished
    harness.check()


def test_slots_leak_when_a_known_request_is_sent_again() -> None:
    harness = SchedulerHarness(asynchronous=True, slots=2)
    harness.open_session("s", tokens(20))
    for round_ in range(10):
        harness.append("s", tokens(5, round_))
        harness.step()
    harness.finalize("s")
    harness.run()
    harness.check_drained()


def test_max_tokens_of_the_last_chunk_counts(harness: SchedulerHarness) -> None:
    harness.open_session("s", tokens(20))
    harness.finalize("s", max_tokens=7)
    harness.run()
    assert len(harness.answers["s"]) == 7
    harness.check_drained()


def test_drafts_of_multi_token_prediction_read_ahead(harness: SchedulerHarness) -> None:
    """With a look-ahead of several tokens, that many are held back, not one."""
    harness.scheduler._hold = 4
    harness.open_session("s", tokens(3 * BLOCK_SIZE))
    harness.run()
    assert harness.computed("s") == 3 * BLOCK_SIZE - 4
    harness.update("s", tokens(2))
    harness.run()
    assert harness.computed("s") == 0
    harness.finalize("s", tokens(20, 1))
    harness.run()
    harness.check_drained()


def test_an_answer_that_outgrows_the_pool_ends_there() -> None:
    harness = SchedulerHarness(blocks=10, max_model_len=512)
    harness.ordinary("o", tokens(100), max_tokens=400)
    harness.run()
    assert "o" in harness.finished
    assert len(harness.answers["o"]) == 9 * BLOCK_SIZE - 100
    harness.asked.clear()
    harness.check_drained()
