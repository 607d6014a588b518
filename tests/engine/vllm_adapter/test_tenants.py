"""Tenants and priorities on the real scheduler and KV cache manager, without a model."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from stream2llm_engine.policies import Policy
from tests.engine.harness import SchedulerHarness

if TYPE_CHECKING:
    from stream2llm_engine.policies import RequestView

BUDGET = 128


@pytest.fixture(autouse=True)
def no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tenants take turns from the first token on: the prompts here are short."""
    monkeypatch.setattr("stream2llm_engine.vllm_adapter.sharing._SLACK_CHUNKS", 0)


def tokens(count: int, seed: int = 0) -> list[int]:
    return [(seed * 7919 + i * 31) % 997 for i in range(count)]


class ByTenant(Policy):
    """One tenant before the other, as a user may write it."""

    name = "by-tenant"
    fair_share = False

    def key(self, request: RequestView) -> tuple[float, ...]:
        return (0.0 if request.tenant == "paid" else 1.0,)


def backlog(harness: SchedulerHarness, tenant: str, requests: int) -> None:
    for number in range(requests):
        name = f"{tenant}{number}"
        harness.ordinary(name, tokens(300, hash(name) % 900), tenant=tenant, max_tokens=1)


def served(harness: SchedulerHarness, steps: int) -> Counter[str]:
    """Return the tokens that each tenant gets in some steps."""
    total: Counter[str] = Counter()
    for _ in range(steps):
        for name, count in harness.step().items():
            total[name[0]] += count
    return total


@pytest.mark.parametrize("policy", ["fcfs", "lcas", "mcps", "srpt"])
def test_a_late_tenant_gets_its_share_at_once(policy: str) -> None:
    harness = SchedulerHarness(blocks=400, policy=policy, token_budget=BUDGET)
    backlog(harness, "a", 20)
    harness.step()
    backlog(harness, "b", 20)
    got = served(harness, 20)
    assert abs(got["a"] - got["b"]) <= 4 * BUDGET
    harness.run()
    harness.check_drained()


def test_shares_follow_the_weights() -> None:
    harness = SchedulerHarness(blocks=400, token_budget=BUDGET, weights={"a": 3.0})
    backlog(harness, "a", 30)
    backlog(harness, "b", 30)
    got = served(harness, 40)
    assert got["a"] == pytest.approx(3 * got["b"], abs=4 * BUDGET)


@pytest.mark.parametrize("why", ["flag", "policy"])
def test_turns_can_be_turned_off(why: str) -> None:
    policy = "fcfs" if why == "flag" else f"{__name__}:ByTenant"
    harness = SchedulerHarness(
        blocks=400, token_budget=BUDGET, policy=policy, fair_share=why != "flag"
    )
    backlog(harness, "a", 20)
    backlog(harness, "b", 20)
    assert served(harness, 20)["b"] == 0


def test_a_lone_tenant_has_nobody_to_share_with(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = SchedulerHarness()
    monkeypatch.setattr(harness.scheduler._shares, "merge", lambda *_: 1 / 0)
    backlog(harness, "a", 3)
    harness.run()
    harness.check_drained()


def test_running_answers_keep_their_pace() -> None:
    harness = SchedulerHarness(blocks=400, token_budget=BUDGET)
    harness.ordinary("a", tokens(40), tenant="a", max_tokens=30)
    harness.step()
    backlog(harness, "b", 5)
    for _ in range(10):
        assert harness.step()["a"] == 1
    harness.run()
    harness.check_drained()


def test_answers_are_counted_at_their_price() -> None:
    harness = SchedulerHarness()
    harness.ordinary("a", tokens(50), tenant="a", max_tokens=11)
    harness.open_session("b", tokens(60, 1), tenant="b")
    harness.run()
    figures = harness.scheduler.stream_stats().tenants
    assert (figures["a"].prefill_tokens, figures["a"].decode_tokens) == (50, 10)
    assert (figures["b"].prefill_tokens, figures["b"].open_sessions) == (59, 1)


@pytest.mark.parametrize("fair_share", [False, True])
def test_a_finalized_prompt_spares_the_work_of_those_who_have_had_less(*, fair_share: bool) -> None:
    harness = SchedulerHarness(blocks=31, policy="srpt", token_budget=64, fair_share=fair_share)
    harness.open_session("b", tokens(470), tenant="b")
    while harness.computed("b") < 448:
        harness.step()
    harness.scheduler._shares.charge("b", 1, 0)
    harness.ordinary("a", tokens(250, 2), tenant="a", max_tokens=1)
    harness.scheduler._shares.charge("a", 10_000, 0)
    harness.step()
    assert (harness.computed("b") == 469) == fair_share
    harness.run()
    assert "a" in harness.finished
    harness.finalize("b")
    harness.run()
    harness.check_drained()


def test_idle_sessions_give_way_to_tenants_that_have_had_more() -> None:
    harness = SchedulerHarness(blocks=33, policy="srpt")
    harness.open_session("idle", tokens(400), tenant="b", priority=-1)
    harness.run()
    harness.scheduler._shares.charge("b", 1, 0)
    harness.ordinary("a", tokens(300, 1), tenant="a", max_tokens=1)
    harness.scheduler._shares.charge("a", 10_000, 0)
    harness.run()
    assert "a" in harness.finished
    harness.finalize("idle")
    harness.run()
    harness.check_drained()


@pytest.mark.parametrize("policy", ["fcfs", "srpt"])
@pytest.mark.parametrize("priority", [0, -1])
def test_an_open_session_that_is_stuck_keeps_no_prompt_waiting(policy: str, priority: int) -> None:
    harness = SchedulerHarness(blocks=20, policy=policy, token_budget=BUDGET)
    # More than fits: it has something to compute and no block to put it.
    harness.open_session("stuck", tokens(250), tenant="b", priority=priority)
    harness.open_session("too", tokens(250, 2), tenant="b", priority=priority)
    harness.run()
    harness.ordinary("a", tokens(200, 1), tenant="a", max_tokens=1)
    harness.scheduler._shares.charge("a", 10_000, 0)
    harness.run()
    assert "a" in harness.finished
    for name in ("stuck", "too"):
        harness.finalize(name)
    harness.run()
    harness.check_drained()


def test_the_smallest_priority_goes_first_whoever_asks() -> None:
    harness = SchedulerHarness(blocks=400, token_budget=32, policy="srpt")
    harness.ordinary("long", tokens(200), tenant="a", priority=0)
    harness.ordinary("later", tokens(40, 1), tenant="b", priority=5)
    harness.open_session("first", tokens(60, 2), tenant="a", priority=-1)
    harness.finalize("first", tokens(4, 3))
    order = [next(iter(harness.step())) for _ in range(9)]
    assert order[:2] == ["first", "first"]
    assert order.index("long") < order.index("later") if "later" in order else True
    harness.run()
    harness.check_drained()


@pytest.mark.parametrize("isolated", [False, True])
def test_isolated_tenants_share_no_cached_prefix(*, isolated: bool) -> None:
    harness = SchedulerHarness(blocks=100, isolated=isolated)
    shared = tokens(160)
    for name, tenant in (("a1", "a"), ("b", "b"), ("a2", "a")):
        harness.open_session(name, shared, tenant=tenant)
        harness.run()
    reused = {r.session_id: r.reused_tokens for r in harness.scheduler.take_progress()}
    assert reused["a1"] == 0
    assert reused["a2"] >= 128
    assert (reused["b"] == 0) == isolated
    for name in ("a1", "b", "a2"):
        harness.finalize(name)
    harness.run()
    harness.check_drained()


def test_a_session_keeps_its_cache_to_its_tenant_after_an_update() -> None:
    harness = SchedulerHarness(blocks=100, isolated=True)
    harness.open_session("a", tokens(160), tenant="a")
    harness.run()
    harness.open_session("b", tokens(40, 1), tenant="b")
    harness.run()
    harness.update("b", tokens(160))
    harness.run()
    reused = {r.session_id: r.reused_tokens for r in harness.scheduler.take_progress()}
    assert reused["b"] == 0
    for name in "ab":
        harness.finalize(name)
    harness.run()
    harness.check_drained()
