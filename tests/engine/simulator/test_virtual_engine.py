"""The virtual clock on workloads small enough to reckon by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from stream2llm_engine.policies import ShortestRemainingPrefill
from stream2llm_engine.simulator import (
    PromptEvent,
    SimulatedQuery,
    SimulationSettings,
    simulate,
)
from stream2llm_profiles import load_profile

PROFILE = load_profile("h200-tp2-llama-3.1-8b")
BASELINES_AND_POLICIES = ["blocking", "stock", "fcfs", "lcas", "mcps", "srpt"]


class NotAged(ShortestRemainingPrefill):
    """Shortest remaining prefill time without the bound."""

    name = "not-aged"
    AGING = 0.0


def settings(policy: str = "srpt", **changes: Any) -> SimulationSettings:
    return SimulationSettings(profile=PROFILE, policy=policy, **changes)


def document(seed: int, tokens: int) -> list[int]:
    return list(range(seed * 100_000, seed * 100_000 + tokens))


def appending(name: str, arrival_s: float, *lengths: int, gap_s: float = 1.0) -> SimulatedQuery:
    seed = hash(name) % 1000 + 1
    return SimulatedQuery(
        query_id=name,
        arrival_s=arrival_s,
        events=[
            PromptEvent(delay_s=gap_s, token_ids=document(seed * 20 + index, length))
            for index, length in enumerate(lengths)
        ],
        question=[1, 2, 3],
    )


def busy_workload(queries: int = 60) -> list[SimulatedQuery]:
    dice = random.Random(3)
    workload = []
    for index in range(queries):
        events = [PromptEvent(delay_s=0.1, token_ids=document(1, 40))]
        for step in range(dice.randrange(1, 5)):
            pages = document(1, 40) + document(10 + index, dice.randrange(100, 4000))
            change = PromptEvent(
                delay_s=dice.uniform(0.0, 1.0),
                token_ids=pages + document(500 + 10 * index + step, 300),
                replace=True,
            )
            events.append(change)
        workload.append(
            SimulatedQuery(
                query_id=f"q{index}",
                arrival_s=index * 0.05,
                events=events,
                question=[7, 8, 9],
                output_tokens=2,
            )
        )
    return workload


@pytest.mark.parametrize("policy", BASELINES_AND_POLICIES)
@pytest.mark.parametrize("prefix_caching", [False, True])
def test_every_query_is_answered_under_memory_pressure(
    policy: str, *, prefix_caching: bool
) -> None:
    workload = busy_workload()
    outcome = simulate(
        workload, settings(policy, pool_tokens=12_000, prefix_caching=prefix_caching)
    )
    assert set(outcome.ttft_from_final_s) == {q.query_id for q in workload}
    assert min(outcome.ttft_from_final_s.values()) > 0.0
    assert outcome.completion_s >= max(q.final_s for q in workload)
    if policy not in ("blocking", "stock"):
        assert outcome.evicted_blocks > 0


def test_the_same_workload_gives_the_same_figures() -> None:
    first, second = (simulate(busy_workload(), settings()).figures() for _ in range(2))
    assert {k: v for k, v in first.items() if k != "simulation_wall_s"} == {
        k: v for k, v in second.items() if k != "simulation_wall_s"
    }


def test_a_lone_blocking_query_takes_its_prefill() -> None:
    query = appending("q", 5.0, 1000, 3000, 1000)
    outcome = simulate([query], settings("blocking"))
    prefill = PROFILE.prefill.prefill_s(5003, 0, chunk_tokens=2048)
    assert outcome.ttft_from_final_s["q"] == pytest.approx(prefill + PROFILE.request_overhead_s)
    assert outcome.time_to_first_token_s["q"] == pytest.approx(3.0 + outcome.ttft_from_final_s["q"])


@pytest.mark.parametrize("policy", ["stock", "fcfs", "lcas", "mcps", "srpt"])
def test_a_lone_streaming_query_takes_its_last_chunk(policy: str) -> None:
    outcome = simulate([appending("q", 5.0, 1000, 3000, 1000)], settings(policy))
    # The held token of the chunk before is computed with the last chunk.
    last = PROFILE.prefill.prefill_s(1004, 3999, chunk_tokens=2048)
    assert outcome.ttft_from_final_s["q"] == pytest.approx(last + PROFILE.request_overhead_s)
    assert outcome.tokens_computed == 5003


def test_an_event_that_changes_nothing_computes_nothing() -> None:
    query = appending("q", 0.0, 1000, 0, 500, 0)
    outcome = simulate([query], settings())
    assert outcome.tokens_computed == 1503
    assert query.final_prompt()[-3:] == [1, 2, 3]


def test_what_can_never_fit_is_refused_by_name() -> None:
    outcome = simulate(
        [appending("small", 0.0, 100), appending("huge", 0.0, 3000)],
        settings(pool_tokens=2000),
    )
    assert outcome.refused == ["huge"]
    assert list(outcome.ttft_from_final_s) == ["small"]


def test_an_update_invalidates_what_stands_behind_the_common_prefix() -> None:
    old, new = document(1, 3000), document(1, 1000) + document(2, 1500)
    query = SimulatedQuery(
        query_id="q",
        arrival_s=0.0,
        events=[
            PromptEvent(delay_s=1.0, token_ids=old),
            PromptEvent(delay_s=1.0, token_ids=new, replace=True),
        ],
    )
    outcome = simulate([query], settings())
    assert outcome.tokens_invalidated == 2999 - 1000


def flood(seconds: float) -> list[SimulatedQuery]:
    """A long prompt first, then short ones faster than the machine computes them."""
    short_s = PROFILE.prefill.prefill_s(2000, 0, chunk_tokens=2048)
    count = int(seconds / short_s * 1.05)
    shorts = [appending(f"s{i}", i * seconds / count, 1997, gap_s=0.0) for i in range(count)]
    return [appending("long", 0.0, 30_000, gap_s=0.0), *shorts]


def test_the_wait_is_bounded_under_overload() -> None:
    seconds = 30.0
    long_s = PROFILE.prefill.prefill_s(30_000, 0, chunk_tokens=2048)
    bound_s = long_s / ShortestRemainingPrefill.AGING
    assert bound_s < seconds * 0.8
    aged = simulate(flood(seconds), settings("srpt"))
    # Whoever may overtake was finalized within the bound; their work is all it waits for.
    assert aged.ttft_from_final_s["long"] < 1.1 * (bound_s + long_s)
    starved = simulate(flood(seconds), settings(f"{__name__}:NotAged"))
    assert starved.ttft_from_final_s["long"] > seconds


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown policy 'best'"):
        simulate([], settings("best"))
