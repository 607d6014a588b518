"""The planner on made-up pools; the scheduler tests run it on vLLM's."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from stream2llm_engine.planner import StepPlan, plan_with_eviction, plan_without_eviction

BLOCK = 4


@dataclass
class Pool:
    """A ledger over plain numbers; blocks may be shared."""

    total: int
    held: dict[str, set[int]] = field(default_factory=dict)
    wanted: dict[str, int] = field(default_factory=dict)

    def wanted_tokens(self, request_id: str) -> int:
        return self.wanted.get(request_id, 0)

    def free_blocks(self) -> int:
        return self.total - len(set().union(*self.held.values()))

    def total_blocks(self) -> int:
        return self.total

    def blocks_needed(self, request_id: str, tokens: int) -> int:
        return -(-tokens // BLOCK)

    def held_blocks(self, request_id: str) -> set[int]:
        return self.held.get(request_id, set())


def plan(pool: Pool, ranked: list[str], *, budget: int = 100, slots: int = 8) -> StepPlan:
    free = plan_without_eviction(
        [r for r in ranked if pool.wanted_tokens(r)], pool, token_budget=budget, slots=slots
    )
    if free is not None:
        return free
    return plan_with_eviction(ranked, pool, token_budget=budget, slots=slots)


def test_grants_follow_the_ranking_until_the_budget_ends() -> None:
    pool = Pool(total=100, wanted={"a": 30, "b": 90, "c": 10})
    assert plan(pool, ["a", "b", "c"]).grants == {"a": 30, "b": 70}


def test_slots_limit_the_grants() -> None:
    pool = Pool(total=100, wanted={"a": 1, "b": 1, "c": 1})
    assert list(plan(pool, ["a", "b", "c"], slots=2).grants) == ["a", "b"]


def test_no_victim_while_blocks_are_free() -> None:
    pool = Pool(total=10, held={"idle": {0, 1, 2}}, wanted={"a": 28})
    result = plan(pool, ["a", "idle"])
    assert result.grants == {"a": 28}
    assert result.victims == []


def test_the_lowest_rank_is_the_first_victim() -> None:
    pool = Pool(total=10, held={"x": {0, 1, 2, 3}, "y": {4, 5, 6, 7}}, wanted={"a": 16})
    result = plan(pool, ["a", "x", "y"])
    assert result.grants == {"a": 16}
    assert result.reserved_blocks == 4
    assert result.victims == ["y", "x"]


def test_a_request_takes_no_block_from_one_ranked_above_it() -> None:
    pool = Pool(total=10, held={"old": set(range(8))}, wanted={"young": 20})
    result = plan(pool, ["old", "young"])
    assert result.grants == {}


def test_a_smaller_request_may_pass_one_that_does_not_fit() -> None:
    pool = Pool(total=10, held={"old": set(range(8))}, wanted={"big": 20, "small": 8})
    assert plan(pool, ["old", "big", "small"]).grants == {"small": 8}


def test_blocks_shared_with_a_winner_are_counted_once() -> None:
    pool = Pool(
        total=10,
        held={"a": {0, 1, 2, 3, 4}, "b": {0, 1, 2, 3, 5}, "c": {6, 7, 8, 9}},
        wanted={"a": 8, "b": 8},
    )
    assert list(plan(pool, ["a", "b", "c"]).grants) == ["a", "b"]


names = st.sampled_from([f"r{i}" for i in range(8)])


@given(
    total=st.integers(4, 30),
    held=st.dictionaries(names, st.sets(st.integers(0, 29), max_size=8)),
    wanted=st.dictionaries(names, st.integers(0, 60)),
    ranked=st.permutations([f"r{i}" for i in range(8)]),
    budget=st.integers(1, 100),
    slots=st.integers(1, 8),
)
def test_grants_always_fit_once_the_victims_gave(
    total: int,
    held: dict[str, set[int]],
    wanted: dict[str, int],
    ranked: list[str],
    budget: int,
    slots: int,
) -> None:
    pool = Pool(total, {name: {b for b in ids if b < total} for name, ids in held.items()}, wanted)
    result = plan(pool, ranked, budget=budget, slots=slots)
    assert sum(result.grants.values()) <= budget
    assert len(result.grants) <= slots
    assert not set(result.victims) & set(result.grants)
    kept = set().union(*(pool.held_blocks(name) for name in result.grants))
    if result.victims:
        assert len(kept) + result.reserved_blocks <= total
    else:
        assert result.reserved_blocks <= pool.free_blocks()
    runnable = [name for name in ranked if pool.wanted_tokens(name)]
    first = runnable[0] if runnable else None
    if first and pool.blocks_needed(first, min(wanted[first], budget)) <= pool.free_blocks():
        assert first in result.grants
