from __future__ import annotations

import pytest

from stream2llm_engine.arrival_model import ArrivalModel, EventHistory


def run_session(
    model: ArrivalModel, *, events: int, gap_s: float, tenant: str = "a", start_s: float = 0.0
) -> EventHistory:
    history = EventHistory(tenant=tenant, last_event_s=start_s)
    for index in range(1, events):
        model.observe_event(history, start_s + index * gap_s)
    return history


def test_completion_follows_the_tenants_gaps_and_number_of_events() -> None:
    model = ArrivalModel()
    for start in range(20):
        model.observe_final(run_session(model, events=5, gap_s=2.0, start_s=100.0 * start))
    history = run_session(model, events=3, gap_s=2.0, start_s=5000.0)
    assert model.expected_final_s(history) == pytest.approx(5000.0 + 4 * 2.0, abs=0.1)


def test_a_sessions_own_gaps_count_more_the_more_there_are() -> None:
    model = ArrivalModel()
    for _ in range(20):
        model.observe_final(run_session(model, events=6, gap_s=1.0))
    slow = run_session(model, events=2, gap_s=10.0)
    slower_known = run_session(model, events=5, gap_s=10.0)
    per_gap = (model.expected_final_s(slow) - slow.last_event_s) / 4
    per_gap_known = model.expected_final_s(slower_known) - slower_known.last_event_s
    assert 1.0 < per_gap < per_gap_known < 10.0


def test_residual_life_of_a_session_that_outlived_the_usual_number() -> None:
    model = ArrivalModel()
    for events in [3] * 9 + [11]:
        model.observe_final(run_session(model, events=events, gap_s=1.0))
    history = run_session(model, events=4, gap_s=1.0)
    assert model.expected_final_s(history) == pytest.approx(3.0 + 7.0, abs=0.3)


def test_tenants_do_not_teach_each_other() -> None:
    model = ArrivalModel()
    for _ in range(10):
        model.observe_final(run_session(model, events=4, gap_s=30.0, tenant="slow"))
    fresh = EventHistory(tenant="new", last_event_s=0.0)
    assert model.expected_final_s(fresh) < 5.0


def test_append_only_tenants_are_settled() -> None:
    model = ArrivalModel()
    assert model.settled_share(EventHistory(tenant="a", last_event_s=0.0)) == 1.0


def test_updates_teach_how_much_of_the_prompt_stays() -> None:
    model = ArrivalModel()
    history = EventHistory(tenant="a", last_event_s=0.0)
    for _ in range(6):
        model.observe_update(history, 0.25)
    assert model.settled_share(history) == pytest.approx(0.25, abs=0.02)
    assert model.settled_share(EventHistory(tenant="a", last_event_s=0.0)) == pytest.approx(0.25)


def test_memory_is_bounded_and_follows_a_change() -> None:
    model = ArrivalModel()
    for events, sessions in ((2, 2000), (9, 2000)):
        for _ in range(sessions):
            model.observe_final(run_session(model, events=events, gap_s=1.0))
    fresh = run_session(model, events=1, gap_s=1.0)
    assert model.expected_final_s(fresh) > 6.0
