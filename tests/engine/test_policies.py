from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream2llm_engine.cost_model import CostModel
from stream2llm_engine.policies import (
    Policy,
    RequestView,
    ShortestRemainingPrefill,
    policy_names,
    policy_path,
    resolve_policy,
)


class ShortestPromptFirst(Policy):
    """What a user would write."""

    name = "shortest-prompt"

    def key(self, request: RequestView) -> tuple[float, ...]:
        return (0.0 if request.finalized else 1.0, float(request.remaining_tokens))


def view(
    name: str,
    *,
    arrival: float = 0.0,
    last: float = 0.0,
    final: bool = False,
    idle: bool = False,
    computed: int = 0,
    remaining_s: float = 0.0,
    expected: float = 0.0,
) -> RequestView:
    return RequestView(
        request_id=name,
        arrival_s=arrival,
        last_event_s=last,
        finalized=final,
        idle=idle,
        remaining_tokens=0 if idle else 1,
        computed_tokens=computed,
        remaining_s=remaining_s,
        expected_final_s=expected,
    )


def ranked(policy: str, *views: RequestView) -> list[str]:
    return [v.request_id for v in sorted(views, key=resolve_policy(policy).key)]


def test_fcfs_goes_by_the_first_chunk_and_puts_idle_sessions_last() -> None:
    assert ranked(
        "fcfs",
        view("idle", arrival=0, idle=True),
        view("open", arrival=1),
        view("late", arrival=9, final=True),
        view("early", arrival=2, last=10, final=True),
    ) == ["early", "late", "open", "idle"]


def test_lcas_goes_by_the_last_chunk_the_longest_ready_first() -> None:
    assert ranked(
        "lcas",
        view("idle", last=0, idle=True),
        view("open-late", last=8),
        view("open-early", last=3),
        view("final-late", arrival=1, last=9, final=True),
        view("final-early", arrival=2, last=4, final=True),
    ) == ["final-early", "final-late", "open-early", "open-late", "idle"]


def test_mcps_goes_by_computed_tokens_finalized_or_not() -> None:
    assert ranked(
        "mcps",
        view("idle", computed=999, idle=True),
        view("final", computed=10, final=True),
        view("open", computed=500),
    ) == ["open", "final", "idle"]


def test_srpt_goes_by_remaining_prefill_then_by_expected_completion() -> None:
    assert ranked(
        "srpt",
        view("far", expected=50),
        view("near", expected=5, idle=True),
        view("long", final=True, remaining_s=2.0),
        view("short", final=True, remaining_s=0.1),
    ) == ["short", "long", "near", "far"]


def test_srpt_computes_the_longer_of_two_open_prompts_earlier() -> None:
    long = view("long", expected=50, remaining_s=2.0)
    assert ranked("srpt", view("short", expected=45, remaining_s=0.1), long) == ["long", "short"]
    assert ranked("srpt", view("due", expected=5, remaining_s=0.1), long) == ["due", "long"]


@given(
    remaining=st.floats(0, 10),
    other=st.floats(0, 10),
    later=st.floats(0, 1000),
)
def test_srpt_is_overtaken_only_within_the_stated_bound(
    remaining: float, other: float, later: float
) -> None:
    policy = ShortestRemainingPrefill()
    first = policy.key(view("a", final=True, last=5.0, remaining_s=remaining))
    second = policy.key(view("b", final=True, last=5.0 + later, remaining_s=other))
    if later > remaining / policy.AGING + 1e-6:
        assert first < second


def test_srpt_keeps_steps_short_for_finalized_prompts() -> None:
    policy, cost = ShortestRemainingPrefill(), CostModel()
    assert policy.open_token_budget(1000, 50_000, 8192, cost) == 0
    alone = policy.open_token_budget(0, 500, 8192, cost)
    assert cost.prefill_s(alone) == pytest.approx(policy.OPEN_STEP_S, rel=0.01)
    assert policy.open_token_budget(0, 500, 10, cost) == 10


def test_srpt_takes_fewer_and_longer_steps_the_more_work_there_is() -> None:
    policy, cost = ShortestRemainingPrefill(), CostModel()
    for tokens in [8, 512, 64, 300] * 50:
        cost.observe(tokens, 0.01 + 0.0002 * tokens)
    overhead = cost.overhead_tokens
    assert overhead == pytest.approx(50, rel=0.1)
    short = policy.open_token_budget(0, 0, 8192, cost)
    work = int(1.5 * short / policy.BACKLOG_SHARE)
    assert policy.open_token_budget(0, work, 8192, cost) == pytest.approx(1.5 * short, abs=1)
    # Beyond that a longer step saves next to nothing, and everyone waits for its end.
    longest = policy.open_token_budget(0, 100 * work, 8192, cost)
    assert longest == pytest.approx(policy.MOST_OVERHEADS * overhead, abs=1)


def test_srpt_computes_early_where_steps_are_slow_whatever_they_compute() -> None:
    policy, cost = ShortestRemainingPrefill(), CostModel()
    for tokens in [8, 512, 64, 300] * 50:
        cost.observe(tokens, 0.1 + 0.0002 * tokens)
    assert cost.tokens_within(policy.OPEN_STEP_S) == 0
    assert policy.open_token_budget(0, 0, 8192, cost) == pytest.approx(500, rel=0.1)


def test_paper_policies_fill_the_step() -> None:
    for name in ("fcfs", "lcas", "mcps"):
        assert resolve_policy(name).open_token_budget(500, 9000, 1548, CostModel()) == 1548


def test_a_policy_is_found_by_name_class_or_import_path() -> None:
    assert policy_names() == ["fcfs", "lcas", "mcps", "srpt"]
    assert policy_path("srpt") == policy_path(ShortestRemainingPrefill) == "srpt"
    path = policy_path(ShortestPromptFirst)
    assert path == "tests.engine.test_policies:ShortestPromptFirst"
    assert isinstance(resolve_policy(path), Policy)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("best", "choose one of .*fcfs.*srpt"),
        ("no_such_module:Policy", "cannot be imported"),
        ("stream2llm_engine.policies:Nothing", "cannot be imported"),
        ("stream2llm_engine.config:EngineConfig", "no subclass"),
    ],
)
def test_an_unusable_policy_says_what_to_do(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_policy(name)


def test_a_local_class_cannot_be_sent_to_another_process() -> None:
    class Local(ShortestPromptFirst):
        pass

    with pytest.raises(ValueError, match="top level of a module"):
        policy_path(Local)
