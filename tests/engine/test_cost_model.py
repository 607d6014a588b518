from __future__ import annotations

import pytest

from stream2llm_engine.cost_model import CostModel
from stream2llm_profiles import load_profile


def test_prices_are_the_profiles() -> None:
    profile = load_profile("h200-tp2-llama-3.1-8b")
    cost = CostModel(profile)
    step = profile.prefill.step_s([(1000, 4000)])
    assert cost.prefill_s(1000, 4000) == pytest.approx(step - profile.prefill.step_overhead_s)


def test_a_tail_deeper_in_the_context_costs_more() -> None:
    cost = CostModel(load_profile("h200-tp2-llama-3.1-8b"))
    assert cost.tail_price_s(30_000, 16) > 1.2 * cost.tail_price_s(1_000, 16)
    assert cost.tail_price_s(8, 16) == cost.prefill_s(16, 0)


def test_tokens_within_a_step_leave_out_its_overhead() -> None:
    profile = load_profile("h200-tp2-llama-3.1-8b")
    cost = CostModel(profile)
    assert cost.tokens_within(profile.prefill.step_overhead_s) == 0
    tokens = cost.tokens_within(0.05)
    assert profile.prefill.step_overhead_s + tokens * profile.prefill.token_s <= 0.05


def test_without_a_profile_the_rate_follows_the_steps() -> None:
    cost = CostModel()
    for _ in range(100):
        cost.observe(1000, 0.5)
    assert cost.prefill_s(1000) == pytest.approx(0.5, rel=0.01)


def test_what_every_step_costs_is_told_from_what_its_tokens_cost() -> None:
    cost = CostModel()
    for tokens in [8, 512, 64, 300, 8, 40] * 30:
        cost.observe(tokens, 0.01 + 0.0002 * tokens)
    assert cost.prefill_s(1000) == pytest.approx(0.2, rel=0.02)
    assert cost.overhead_tokens == pytest.approx(50, rel=0.1)
    assert cost.tokens_within(0.03) == pytest.approx(100, rel=0.1)


def test_what_context_costs_is_told_from_what_tokens_cost() -> None:
    cost = CostModel()
    for tokens, context in [(192, 0), (8, 900), (64, 3000), (192, 1500), (100, 200)] * 30:
        work = tokens * (context + tokens / 2)
        cost.observe(tokens, 0.01 + 2e-4 * tokens + 1e-7 * work, work)
    step_s = 2e-4 * 150 + 1e-7 * 150 * (2000 + 75)
    assert cost.prefill_s(150, 2000) == pytest.approx(step_s, rel=0.02)
    assert cost.overhead_tokens == pytest.approx(50, rel=0.1)


def test_where_context_never_varies_its_price_is_that_of_tokens() -> None:
    cost = CostModel()
    for tokens in [192, 8, 64, 100] * 50:
        work = tokens * (1000 + tokens / 2)
        cost.observe(tokens, 0.01 + 2e-4 * tokens + 1e-7 * work, work)
    assert cost.prefill_s(100, 1000) == pytest.approx(0.0305, rel=0.02)
    assert cost.tokens_within(0.04) == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("context", [0, 5_000])
def test_tokens_added_within_a_time_take_that_time(context: int) -> None:
    cost = CostModel(load_profile("h200-tp2-llama-3.1-8b"))
    tokens = cost.tokens_added_within(0.05, context)
    assert cost.prefill_s(tokens, context) <= 0.05 < cost.prefill_s(tokens + 1, context)
    assert cost.tokens_added_within(-1.0, context) == 0


def test_one_strange_step_and_profiles_teach_little() -> None:
    cost, profiled = CostModel(), CostModel(load_profile("h200-tp2-llama-3.1-8b"))
    before, expected = cost.prefill_s(100), profiled.prefill_s(100)
    cost.observe(1, 9.0)
    cost.observe(1000, 0.0)
    profiled.observe(1000, 9.0)
    assert cost.prefill_s(100) == pytest.approx(before, rel=0.2)
    assert cost.overhead_tokens < 10
    assert profiled.prefill_s(100) == expected
