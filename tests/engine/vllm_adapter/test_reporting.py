"""The way back from a scheduler in another process, and what it is told."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from stream2llm_engine import EngineStats
from stream2llm_engine.vllm_adapter.questions import answer, merged
from stream2llm_engine.vllm_adapter.reporting import take_report
from stream2llm_engine.vllm_adapter.settings import StreamSettings
from stream2llm_engine.wire import OperationKind
from stream2llm_profiles import load_profile
from tests.engine.harness import SchedulerHarness

if TYPE_CHECKING:
    from stream2llm_engine.wire import Report


@pytest.fixture
def harness() -> SchedulerHarness:
    harness = SchedulerHarness()
    harness.scheduler._remote = True
    return harness


def step(harness: SchedulerHarness) -> Report | None:
    """Step, and return the report that came over the wire."""
    output = harness.scheduler.schedule()
    outputs = harness.scheduler.update_from_output(output, harness.runner.execute(output))
    if 0 not in outputs:
        return None
    frames = MsgpackEncoder().encode(outputs[0])
    return take_report(MsgpackDecoder(EngineCoreOutputs).decode(frames))


def test_progress_travels_with_a_step(harness: SchedulerHarness) -> None:
    harness.open_session("s", list(range(100)))
    report = step(harness)
    assert report is not None
    (progress,) = report.progress
    assert progress.session_id == "s"
    assert progress.prefilled_sequence == 1
    assert progress.computed_tokens == 99
    assert not harness.scheduler.has_requests()


def test_what_needs_no_computing_still_gets_a_step(harness: SchedulerHarness) -> None:
    harness.open_session("s", [5])
    assert harness.scheduler.has_requests()
    report = step(harness)
    assert report is not None
    assert report.progress[0].prefilled_sequence == 1
    assert not harness.scheduler.has_requests()
    assert harness.scheduler.stream_stats().steps == 0


def test_figures_by_tenant_survive_the_way_and_the_sum_over_ranks(
    harness: SchedulerHarness,
) -> None:
    harness.open_session("s", list(range(40)), tenant="a")
    harness.ordinary("o", list(range(100, 120)), max_tokens=3)
    harness.run()
    harness.send(OperationKind.ASK_STATS, "q", [])
    report = step(harness)
    assert report is not None
    values = report.answers["q"]["value"]
    stats = EngineStats.of(values)
    assert stats == harness.scheduler.stream_stats()
    assert stats.tenants["a"].open_sessions == 1
    assert stats.tenants["a"].prefill_tokens == 39
    assert stats.tenants["default"].decode_tokens == 2
    elsewhere = {**values, "tenants": {"b": values["tenants"]["a"]}}
    both = EngineStats.of(merged(OperationKind.ASK_STATS, [values, values, elsewhere]))
    assert both.tenants["a"].prefill_tokens == 78
    assert both.tenants["b"] == stats.tenants["a"]


def test_questions_are_answered(harness: SchedulerHarness) -> None:
    for kind in ("ask_stats", "ask_violations", "ask_limits"):
        harness.send(OperationKind(kind), kind, [])
    report = step(harness)
    assert report is not None
    values = {kind: value["value"] for kind, value in report.answers.items()}
    assert EngineStats.of(values["ask_stats"]) == harness.scheduler.stream_stats()
    assert values["ask_violations"] == []
    assert values["ask_limits"] == {"max_model_len": 512, "has_mamba_layers": False}
    assert not harness.scheduler.requests


def test_a_question_wakes_no_session_that_waits_for_blocks() -> None:
    harness = SchedulerHarness(blocks=4)
    harness.scheduler._remote = True
    for name in "abcd":
        harness.open_session(name, list(range(20 + ord(name))))
    while harness.scheduler.has_requests():
        step(harness)
    steps = harness.scheduler.stream_stats().steps
    harness.send(OperationKind.ASK_STATS, "q", [])
    report = step(harness)
    assert report is not None
    assert "q" in report.answers
    assert not harness.scheduler.has_requests()
    assert harness.scheduler.stream_stats().steps == steps


def test_a_question_that_fails_is_answered_too(
    harness: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.scheduler, "stream_stats", lambda: 1 / 0)
    harness.send(OperationKind.ASK_STATS, "q", [])
    report = step(harness)
    assert report is not None
    assert "ZeroDivisionError" in report.answers["q"]["error"]


def test_a_question_without_the_secret_is_an_ordinary_request(harness: SchedulerHarness) -> None:
    harness.send(OperationKind.ASK_STATS, "q", [5, 6], secret="guess")
    assert "q" in harness.scheduler.requests
    assert step(harness) is None


def test_answers_of_ranks_are_merged() -> None:
    harness = SchedulerHarness()
    harness.open_session("s", list(range(50)))
    harness.run()

    def twice(kind: OperationKind) -> Any:
        one = answer(harness.scheduler, kind)
        return one, merged(kind, [one, one])

    one, both = twice(OperationKind.ASK_STATS)
    assert both["total_blocks"] == 2 * one["total_blocks"]
    assert both["tokens"]["computed"] == 98
    assert both["block_size"] == one["block_size"]
    one, both = twice(OperationKind.ASK_LIMITS)
    assert both == one
    assert merged(OperationKind.ASK_VIOLATIONS, [["a"], ["b"]]) == ["a", "b"]
    with pytest.raises(ValueError, match="not a question"):
        answer(harness.scheduler, OperationKind.OPEN)


def test_settings_reach_the_core_and_nothing_else() -> None:
    settings = StreamSettings.make(
        secret="hidden", policy="fcfs", profile=load_profile("h200-tp2-llama-3.1-8b"), remote=True
    )
    additional = settings.added_to({"gdn_prefill_backend": "auto"})
    assert "hidden" not in json.dumps(additional) + repr(additional)
    assert isinstance(additional, dict)
    there = StreamSettings.of(pickle.loads(pickle.dumps(additional)))
    assert there is not None
    assert (there.secret, there.policy, there.remote) == ("hidden", "fcfs", True)
    assert there.profile == settings.profile
    assert StreamSettings.of({"stream2llm": "stream2llm"}) is None
    assert StreamSettings.of(None) is None
