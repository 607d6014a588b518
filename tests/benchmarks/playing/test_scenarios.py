"""The traffic of the benchmark."""

from __future__ import annotations

from itertools import pairwise

import pytest

from stream2llm_bench.playing.scenarios import (
    BLOCK_SIZE,
    MAX_MODEL_LEN,
    Plan,
    all_at_once,
    full_plan,
    pool_tokens,
    queries_of,
    quick_plan,
)
from stream2llm_bench.results import Scenario
from stream2llm_engine.tokens import common_prefix_length

VOCABULARY = 500


def scenario(workload: str = "crawler", *, pool_share: float | None = None) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "test",
            "workload": workload,
            "load": 0.8,
            "qps": 2.0,
            "pool_tokens": 0,
            "pool_share": pool_share,
            "queries": 30,
        }
    )


def test_the_quick_plan_is_part_of_the_full_one() -> None:
    full = {traffic.name: traffic for traffic in full_plan().traffic}
    assert len(full) == len(full_plan().traffic)
    for traffic in quick_plan().traffic:
        assert set(traffic.systems) < set(full[traffic.name].systems)
        assert traffic.queries < full[traffic.name].queries


@pytest.mark.parametrize("plan", [quick_plan(), full_plan()])
def test_blocking_and_ours_stand_first(plan: Plan) -> None:
    for traffic in plan.traffic:
        assert [system for system, _ in traffic.systems[:2]] == ["blocking", "srpt"]


def test_a_trace_is_played_once_by_everyone_who_gets_it() -> None:
    plan = full_plan()
    high = plan.traffic[0]
    traces = plan.traces_of(high)
    assert len(set(traces)) == len(traces)
    seeds = {system: [s for name, _, s in traces if name == system] for system, _ in high.systems}
    assert seeds["blocking"] == seeds["srpt"] == [0, 1, 2, 3]
    assert seeds["warmup"] == [0, 1, 2]
    assert seeds["fcfs"] == seeds["streaming_input"] == [0]
    assert all(len(plan.seeds_of(traffic)) >= 3 for traffic in plan.traffic)


@pytest.mark.parametrize("workload", ["crawler", "anns"])
def test_prompts_fit_the_model(workload: str) -> None:
    queries = queries_of(scenario(workload), 0, None, VOCABULARY)
    assert len(queries) == 30
    for query in queries:
        prompt = query.final_prompt()
        assert 0 < len(prompt) < MAX_MODEL_LEN
        assert 8 <= min(prompt) <= max(prompt) < VOCABULARY


def test_prompts_share_the_template_and_little_else() -> None:
    prompts = [q.final_prompt() for q in queries_of(scenario(), 0, None, VOCABULARY)]
    for one, other in pairwise(prompts):
        assert 48 <= common_prefix_length(one, other) < 48 + BLOCK_SIZE


def test_both_orders_hold_the_same_documents() -> None:
    stable, rank = (
        queries_of(scenario("anns"), 1, order, VOCABULARY) for order in ("stable", "rank")
    )
    for one, other in zip(stable, rank, strict=True):
        assert sorted(one.final_prompt()) == sorted(other.final_prompt())
        assert one.arrival_s == other.arrival_s


def test_at_once_changes_when_and_not_what() -> None:
    queries = queries_of(scenario(), 0, None, VOCABULARY)
    for query, at_once in zip(queries, all_at_once(queries), strict=True):
        assert at_once.final_s == 0.0
        assert at_once.final_prompt() == query.final_prompt()


def test_a_small_pool_holds_the_longest_prompt_and_not_the_working_set() -> None:
    pressed = scenario(pool_share=0.2).model_copy(update={"qps": 6.0, "queries": 80})
    pool = pool_tokens(pressed)
    queries = queries_of(pressed, 0, None, VOCABULARY)
    longest = max(len(query.final_prompt()) for query in queries)
    assert longest < pool < 5 * longest
    assert pool < pool_tokens(scenario())
