"""The idle machine, against hand-made figures and against the simulator itself."""

from __future__ import annotations

import pytest

from stream2llm_engine.simulator import (
    PromptEvent,
    SimulatedQuery,
    SimulationSettings,
    idle_bound,
    simulate,
)
from stream2llm_profiles import HardwareProfile, PrefillCost

BLOCK = 16
PROFILE = HardwareProfile(
    name="test",
    source="analytic",
    method="made up",
    hardware="none",
    model="none",
    tensor_parallel=1,
    request_overhead_s=0.5,
    kv_bytes_per_token=1,
    kv_pool_tokens=16_000,
    prefill=PrefillCost(step_overhead_s=0.01, token_s=0.001, token_context_s=1e-7),
)
SETTINGS = SimulationSettings(profile=PROFILE, token_budget=100, block_size=BLOCK)


def query(*events: PromptEvent, question: int = 10) -> SimulatedQuery:
    return SimulatedQuery(
        query_id="q",
        arrival_s=0.0,
        events=list(events),
        question=list(range(9000, 9000 + question)),
    )


def append(*token_ids: int) -> PromptEvent:
    return PromptEvent(delay_s=5.0, token_ids=list(token_ids))


def update(*token_ids: int) -> PromptEvent:
    return PromptEvent(delay_s=5.0, token_ids=list(token_ids), replace=True)


def bound_s(asked: SimulatedQuery) -> float:
    return idle_bound([asked], SETTINGS)["q"]


def expected_s(new: int, kept: int, steps: int) -> float:
    attended = new * (kept + new / 2)
    return 0.5 + 0.01 * steps + 0.001 * new + 1e-7 * attended


def test_an_append_keeps_all_that_was_computed() -> None:
    asked = query(append(*range(50)), append(*range(50, 80)))
    assert bound_s(asked) == pytest.approx(expected_s(new=40, kept=50, steps=1))


def test_what_comes_last_is_computed_in_steps_of_the_budget() -> None:
    asked = query(append(*range(50)), append(*range(50, 250)))
    assert bound_s(asked) == pytest.approx(expected_s(new=210, kept=50, steps=3))


def test_an_update_keeps_whole_blocks_of_the_common_prefix() -> None:
    asked = query(append(*range(80)), update(*range(50), *range(500, 530)))
    assert bound_s(asked) == pytest.approx(expected_s(new=42, kept=48, steps=1))


def test_an_update_is_compared_with_the_prompt_right_before_it() -> None:
    asked = query(append(*range(80)), update(500), update(*range(80)), question=0)
    assert bound_s(asked) == pytest.approx(expected_s(new=80, kept=0, steps=1))


def test_a_context_in_one_event_is_all_new() -> None:
    assert bound_s(query(append(*range(50)))) == pytest.approx(expected_s(new=60, kept=0, steps=1))


@pytest.mark.parametrize("last", [append(), update(*range(50))])
def test_the_first_token_takes_a_pass_over_one_token_at_least(last: PromptEvent) -> None:
    asked = query(append(*range(60)), last, question=0)
    length = 50 if last.replace else 60
    kept = 48 if last.replace else 59
    assert bound_s(asked) == pytest.approx(expected_s(new=length - kept, kept=kept, steps=1))


@pytest.mark.parametrize("policy", ["fcfs", "srpt", "stock"])
@pytest.mark.parametrize(
    "asked",
    [
        query(append(*range(200)), append(*range(200, 280)), append(*range(280, 420))),
        query(append(*range(200)), update(*range(120), *range(500, 620))),
    ],
)
def test_a_query_that_is_alone_comes_close(policy: str, asked: SimulatedQuery) -> None:
    settings = SimulationSettings(
        profile=PROFILE, policy=policy, token_budget=100, block_size=BLOCK
    )
    measured = simulate([asked], settings).ttft_from_final_s["q"]
    assert bound_s(asked) <= measured + 1e-9
    # The engine also holds back the last token before the question.
    assert measured == pytest.approx(bound_s(asked), abs=0.002)
