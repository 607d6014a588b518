"""Fair shares on made-up requests; the scheduler tests share a real one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream2llm_engine.fairness import DECODE_WEIGHT, FairShare

CHUNK = 100
TENANTS = "abcd"


def shares(weights: dict[str, float] | None = None, *, burst: int = 10**9) -> FairShare:
    return FairShare(weights, chunk_tokens=CHUNK, burst_tokens=burst)


def merged(share: FairShare, ranked: list[str], costs: dict[str, int] | None = None) -> list[str]:
    """Requests are named by tenant, group and number: ``"a0-1"``."""
    return share.merge(
        ranked,
        tenant_of=lambda name: name[0],
        group_of=lambda name: name[1],
        cost_of=lambda name: (costs or {}).get(name, CHUNK),
    )


@given(
    weights=st.dictionaries(st.sampled_from(TENANTS), st.sampled_from([0.5, 1.0, 2.0, 5.0])),
    chunks=st.lists(st.tuples(*[st.integers(1, CHUNK)] * len(TENANTS)), min_size=1, max_size=60),
    budget=st.integers(1, 3 * CHUNK),
)
def test_backlogged_tenants_get_shares_within_one_chunk(
    weights: dict[str, float], chunks: list[tuple[int, ...]], budget: int
) -> None:
    share = shares(weights)
    service = dict.fromkeys(TENANTS, 0)
    for tenant in TENANTS:
        share.activate(tenant)
    largest = CHUNK / min(weights.get(tenant, 1.0) for tenant in TENANTS)
    for sizes in chunks:
        costs = {
            f"{tenant}0-{number}": min(size, budget)
            for tenant, size in zip(TENANTS, sizes, strict=True)
            for number in range(-(-budget // min(size, budget)))
        }
        left = budget
        for name in merged(share, list(costs), costs):
            tokens = min(costs[name], left)
            if not tokens:
                break
            left -= tokens
            service[name[0]] += tokens
            share.charge(name[0], tokens, 0)
        by_weight = [service[tenant] / weights.get(tenant, 1.0) for tenant in TENANTS]
        assert max(by_weight) - min(by_weight) <= largest + 1e-6
        assert [share.served(tenant) for tenant in TENANTS] == pytest.approx(by_weight)


@given(
    names=st.lists(
        st.builds("{}{}".format, st.sampled_from(TENANTS), st.sampled_from("012")), max_size=30
    ),
    charges=st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(0, 5000)), max_size=10),
)
def test_groups_and_the_order_within_a_tenant_stay(
    names: list[str], charges: list[tuple[str, int]]
) -> None:
    ranked = sorted(
        (f"{name}-{index}" for index, name in enumerate(names)), key=lambda name: name[1]
    )
    share = shares()
    for tenant in TENANTS:
        share.activate(tenant)
    for tenant, tokens in charges:
        share.charge(tenant, tokens, 0)
    result = merged(share, ranked)
    assert sorted(result) == sorted(ranked)
    assert all(one[1] <= other[1] for one, other in pairwise(result))
    for tenant in TENANTS:
        assert [n for n in result if n[0] == tenant] == [n for n in ranked if n[0] == tenant]


def test_tenants_that_are_even_go_in_the_order_of_the_policy() -> None:
    share = FairShare(chunk_tokens=CHUNK, slack_tokens=500)
    for tenant in "ab":
        share.activate(tenant)
    share.charge("a", 400, 0)
    assert merged(share, ["a0-1", "b0-1", "a0-2", "b0-2"], dict.fromkeys(["a0-1"], 50)) == [
        "a0-1",
        "b0-1",
        "a0-2",
        "b0-2",
    ]
    share.charge("a", 1000, 0)
    assert merged(share, ["a0-1", "b0-1", "a0-2", "b0-2"]) == ["b0-1", "b0-2", "a0-1", "a0-2"]


def test_one_step_is_shared() -> None:
    share = shares({"b": 2.0})
    for tenant in "ab":
        share.activate(tenant)
    ranked = ["a0-1", "a0-2", "a0-3", "b0-1", "b0-2", "b0-3"]
    assert merged(share, ranked) == ["a0-1", "b0-1", "b0-2", "a0-2", "b0-3", "a0-3"]


def test_answers_weigh_more_than_prompts() -> None:
    share = shares()
    share.activate("a")
    share.charge("a", 10, 3)
    assert share.served("a") == 10 + 3 * DECODE_WEIGHT


def test_idle_time_is_not_saved_up() -> None:
    share = shares()
    for tenant in "ab":
        share.activate(tenant)
    share.deactivate("b")
    for _ in range(1000):
        share.charge("a", CHUNK, 0)
    share.activate("b")
    assert share.served("a") - share.served("b") == DECODE_WEIGHT * CHUNK
    ranked = [f"{tenant}0-{number}" for tenant in "ab" for number in range(20)]
    # b is let in front for as long as turns may differ, then both take turns.
    assert merged(share, ranked)[:6] == ["b0-0", "b0-1", "a0-0", "b0-2", "a0-1", "b0-3"]


def test_who_stays_but_takes_little_saves_nothing_up_either() -> None:
    share = shares()
    for tenant in "ab":
        share.activate(tenant)
    for _ in range(1000):
        share.charge("a", CHUNK, 0)
    fair = 1000 * CHUNK / 2
    assert share.served("b") == fair - DECODE_WEIGHT * CHUNK


def test_who_takes_much_more_than_its_share_is_ahead_until_there_is_room() -> None:
    share = shares(burst=10 * CHUNK)
    for tenant in "ab":
        share.activate(tenant)
    for _ in range(20):
        share.charge("a", CHUNK, 0)
    assert not share.ahead("a")
    share.charge("a", CHUNK, 0)
    assert share.ahead("a")
    assert not share.ahead("b")
    share.forgive()
    assert not share.ahead("a")
    assert share.served("a") - share.served("b") == DECODE_WEIGHT * CHUNK


def test_a_tenant_with_a_larger_share_is_ahead_later() -> None:
    share = shares({"a": 4.0}, burst=10 * CHUNK)
    for tenant in "ab":
        share.activate(tenant)
    for _ in range(25):
        share.charge("a", CHUNK, 0)
    assert share.served("a") == 25 * CHUNK / 4
    assert not share.ahead("a")


def test_a_lone_tenant_keeps_its_order() -> None:
    assert merged(shares(), ["a0-2", "a0-1", "a1-5"]) == ["a0-2", "a0-1", "a1-5"]
    assert merged(shares(), []) == []
