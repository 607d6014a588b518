"""The planner on made-up pools; the scheduler tests run it on vLLM's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from stream2llm_engine.planner import StepLimits, StepPlan, plan_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BLOCK = 4


@dataclass
class Pool:
    """A ledger over plain numbers; blocks may be shared, rank is alphabetical order."""

    total: int
    held: dict[str, list[int]] = field(default_factory=dict)
    wanted: dict[str, int] = field(default_factory=dict)
    unsettled: dict[str, int] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    hits: dict[str, list[int]] = field(default_factory=dict)
    refills: set[str] = field(default_factory=set)
    away: dict[str, int] = field(default_factory=dict)
    spared: set[str] = field(default_factory=set)
    waived: bool = False
    kinds: dict[str, str] = field(default_factory=dict)
    reserve: int = 0
    can_cut: bool = True
    answering: str = ""
    token_s: dict[str, float] = field(default_factory=dict)

    def undisputed(
        self, ranked: Sequence[str], tokens: int, slots: int
    ) -> tuple[dict[str, int], int]:
        return dict.fromkeys(self.answering, 1), 0

    def prefill_s(self, request_id: str, tokens: int) -> float:
        return tokens * self.token_s.get(request_id, 1.0)

    def tokens_within(self, request_id: str, seconds: float) -> int:
        return int(seconds / self.token_s.get(request_id, 1.0))

    def wanted_tokens(self, request_id: str) -> int:
        return self.wanted.get(request_id, 0)

    def unsettled_tokens(self, request_id: str) -> int:
        return self.unsettled.get(request_id, 0)

    def restore_blocks(self, request_id: str) -> int:
        return self.away.get(request_id, 0)

    def is_final(self, request_id: str) -> bool:
        return request_id not in self.open

    def may_evict(self, request_id: str) -> bool:
        return request_id not in self.refills

    def may_take_from(self, request_id: str, victim_id: str) -> bool:
        spared = victim_id in self.spared and not self.waived
        return request_id < victim_id and not spared

    def kind_of_taker(self, request_id: str) -> str:
        return self.kinds.get(request_id, "")

    def waive(self) -> bool:
        applies = bool(self.spared) and not self.waived
        self.waived = True
        return applies

    def reserve_blocks(self, request_id: str) -> int:
        return self.reserve if request_id in self.open else 0

    def holders(self, block: int) -> int:
        return sum(block in blocks for blocks in self.held.values())

    def free_blocks(self) -> int:
        return self.total - len({b for blocks in self.held.values() for b in blocks})

    def blocks_needed(self, request_id: str, tokens: int) -> int:
        return -(-tokens // BLOCK)

    def hit_blocks(self, request_id: str) -> list[int]:
        return self.hits.get(request_id, [])

    def tail_blocks(self, request_id: str) -> list[tuple[int, int]]:
        return [(b, self.holders(b)) for b in reversed(self.held.get(request_id, []))]

    def victims(self) -> list[str]:
        return sorted(self.held, reverse=True)


def plan(
    pool: Pool,
    ranked: str,
    *,
    budget: int = 100,
    slots: int = 8,
    open_budget: Callable[[int, int], int] | None = None,
    added_budget: Callable[[int, int, int], int] | None = None,
    answer_step_s: float | None = None,
) -> StepPlan:
    limits = StepLimits(
        token_budget=budget,
        slots=slots,
        open_budget=open_budget,
        added_budget=added_budget,
        answer_step_s=answer_step_s,
    )
    return plan_step(list(ranked), pool, limits)


def test_grants_follow_the_ranking_until_the_budget_ends() -> None:
    pool = Pool(total=100, wanted={"a": 30, "b": 90, "c": 10})
    assert plan(pool, "abc").grants == {"a": 30, "b": 70}


def test_a_step_with_running_answers_is_limited_in_time() -> None:
    wanted, token_s = {"b": 40, "c": 40, "d": 40}, {"b": 0.5, "c": 2.0}
    pool = Pool(total=100, wanted=wanted, token_s=token_s, answering="a")
    assert plan(pool, "abcd", answer_step_s=50.0).grants == {"a": 1, "b": 40, "c": 15}
    pool.answering = ""
    assert plan(pool, "bcd", answer_step_s=50.0).grants == {"b": 40, "c": 40, "d": 20}


def test_nobody_is_looked_at_once_the_time_beside_answers_is_used_up() -> None:
    pool = Pool(total=100, wanted=dict.fromkeys("bcd", 40), answering="a")
    looked_at: list[str] = []

    def tokens_within(request_id: str, seconds: float) -> int:
        looked_at.append(request_id)
        return int(seconds)

    pool.tokens_within = tokens_within  # type: ignore[method-assign]
    assert plan(pool, "abcd", answer_step_s=40.5).grants == {"a": 1, "b": 40}
    assert looked_at == ["b", "c"]


def test_what_answers_compute_is_not_what_open_prompts_are_measured_by() -> None:
    asked: list[int] = []

    def open_budget(final_tokens: int, left: int) -> int:
        asked.append(final_tokens)
        return 20

    pool = Pool(total=100, wanted={"c": 50}, open={"c"}, answering="ab")
    assert plan(pool, "abc", open_budget=open_budget).grants == {"a": 1, "b": 1, "c": 20}
    assert asked == [0]


def test_slots_limit_the_grants() -> None:
    pool = Pool(total=100, wanted={"a": 1, "b": 1, "c": 1})
    assert list(plan(pool, "abc", slots=2).grants) == ["a", "b"]


def test_no_victim_while_blocks_are_free() -> None:
    pool = Pool(total=10, held={"z": [0, 1, 2]}, wanted={"a": 28})
    result = plan(pool, "a")
    assert result.grants == {"a": 28}
    assert result.evictions == {}


def test_victims_give_up_their_tail_and_no_more_than_lacks() -> None:
    pool = Pool(total=10, held={"y": [0, 1, 2, 3], "z": [4, 5, 6]}, wanted={"a": 32})
    result = plan(pool, "a")
    assert result.grants == {"a": 32}
    assert result.evictions == {"z": 3, "y": 2}


def test_a_table_that_cannot_be_cut_goes_whole() -> None:
    pool = Pool(total=8, held={"z": [0, 1, 2, 3, 4]}, wanted={"a": 16}, can_cut=False)
    assert plan(pool, "a").evictions == {"z": 5}


def test_a_request_takes_no_block_from_one_ranked_above_it() -> None:
    pool = Pool(total=10, held={"a": list(range(8))}, wanted={"b": 20})
    assert plan(pool, "b") == StepPlan()


def test_a_smaller_request_may_pass_one_that_does_not_fit() -> None:
    pool = Pool(total=10, held={"a": list(range(8))}, wanted={"b": 20, "c": 8})
    assert plan(pool, "bc").grants == {"c": 8}


def test_a_victim_is_granted_nothing_in_the_same_step() -> None:
    pool = Pool(total=8, held={"b": [0, 1, 2, 3]}, wanted={"a": 20, "b": 4})
    result = plan(pool, "ab")
    assert result.grants == {"a": 20}
    assert result.evictions == {"b": 1}


def test_a_shared_block_is_free_when_its_last_holder_lets_it_go() -> None:
    pool = Pool(total=4, held={"y": [0, 1], "z": [0, 1], "x": [2, 3]}, wanted={"a": 8})
    result = plan(pool, "a")
    assert result.grants == {"a": 8}
    assert result.evictions == {"z": 2, "y": 2}


def test_a_shared_block_that_stays_in_use_does_not_count() -> None:
    pool = Pool(total=4, held={"a": [0, 1], "z": [0, 1, 2, 3]}, wanted={"a": 8})
    assert plan(pool, "a").evictions == {"z": 2}
    pool = Pool(total=4, held={"a": [0, 1], "z": [0, 1, 2, 3]}, wanted={"a": 12})
    assert plan(pool, "a") == StepPlan()


def test_a_hit_on_a_victims_block_is_taken_off_the_free_list_again() -> None:
    pool = Pool(
        total=6,
        held={"z": [0, 1, 2, 3]},
        wanted={"a": 16, "b": 4},
        hits={"b": [2, 3]},
    )
    # `a` makes `z` let go of 3 and 2, so `b` needs its block and those two.
    result = plan(pool, "ab")
    assert result.grants == {"a": 16}
    pool.total = 9
    result = plan(pool, "ab")
    assert result.grants == {"a": 16, "b": 4}
    assert result.reserved_blocks == 5


def test_an_idle_session_gets_lost_kv_back_from_free_blocks_only() -> None:
    pool = Pool(total=10, held={"z": list(range(8))}, wanted={"a": 12}, open={"a"}, refills={"a"})
    assert plan(pool, "a") == StepPlan()
    pool.wanted = {"a": 8}
    assert plan(pool, "a").grants == {"a": 8}


def test_open_sessions_leave_the_reserve() -> None:
    pool = Pool(total=10, wanted={"a": 40}, open={"a"}, reserve=2)
    assert plan(pool, "a").grants == {}
    pool.wanted = {"a": 32}
    assert plan(pool, "a").grants == {"a": 32}


def test_open_sessions_share_their_own_budget() -> None:
    pool = Pool(total=100, wanted={"a": 30, "b": 50, "c": 50}, open={"b", "c"})
    seen = []

    def open_budget(final_tokens: int, left: int) -> int:
        seen.append((final_tokens, left))
        return 60

    assert plan(pool, "abc", open_budget=open_budget).grants == {"a": 30, "b": 50, "c": 10}
    assert seen == [(30, 70)]


def test_prompts_that_a_step_completes_wait_for_little_else() -> None:
    pool = Pool(total=100, wanted={"a": 30, "b": 30, "c": 90, "d": 200})
    seen: list[tuple[int, int, int]] = []

    def added_budget(finishing: int, waiting: int, left: int) -> int:
        seen.append((finishing, waiting, left))
        return 50

    grants = plan(pool, "abcd", budget=200, added_budget=added_budget).grants
    assert grants == {"a": 30, "b": 30, "c": 20}
    assert seen == [(1, 3, 170), (2, 2, 140), (2, 1, 120)]


def test_who_is_not_completed_waits_for_nobody() -> None:
    pool = Pool(total=100, wanted={"a": 200, "b": 30})
    assert plan(pool, "ab", budget=150, added_budget=lambda *_: 0).grants == {"a": 150}
    assert plan(pool, "ab", budget=220, added_budget=lambda *_: 0).grants == {"a": 200}
    pool.open.add("a")
    grants = plan(pool, "ab", budget=250, open_budget=lambda *_: 40, added_budget=lambda *_: 0)
    assert grants.grants == {"a": 40, "b": 30}


def test_unsettled_tokens_are_computed_only_when_nothing_is_final() -> None:
    pool = Pool(total=100, wanted={"a": 10}, unsettled={"a": 30, "b": 30}, open={"a", "b"})
    assert plan(pool, "ab", budget=60).grants == {"a": 40, "b": 20}
    pool.wanted["0"] = 5
    assert plan(pool, "0ab", budget=60).grants == {"0": 5, "a": 10}


def test_kv_in_host_memory_comes_back_before_its_request_computes() -> None:
    pool = Pool(total=10, held={"z": [0, 1, 2, 3, 4, 5]}, wanted={"a": 8, "b": 8}, away={"a": 6})
    result = plan(pool, "ab")
    assert result.restores == ["a"]
    assert result.grants == {"b": 8}
    assert result.evictions == {"z": 4}
    assert result.reserved_blocks == 8


def test_kv_that_finds_no_room_stays_in_host_memory() -> None:
    pool = Pool(total=10, held={"a": list(range(8))}, wanted={"b": 8}, away={"b": 6})
    assert plan(pool, "b") == StepPlan()


names = st.sampled_from("abcdefgh")


@given(
    total=st.integers(4, 30),
    held=st.dictionaries(names, st.lists(st.integers(0, 29), max_size=8, unique=True)),
    wanted=st.dictionaries(names, st.integers(0, 60)),
    unsettled=st.dictionaries(names, st.integers(0, 20)),
    opened=st.sets(names),
    budget=st.integers(1, 100),
    slots=st.integers(1, 8),
)
def test_grants_always_fit_once_the_victims_gave(
    total: int,
    held: dict[str, list[int]],
    wanted: dict[str, int],
    unsettled: dict[str, int],
    opened: set[str],
    budget: int,
    slots: int,
) -> None:
    pool = Pool(
        total,
        {name: [b for b in ids if b < total] for name, ids in held.items()},
        wanted,
        {name: count for name, count in unsettled.items() if name in opened},
        opened,
    )
    ranked = "".join(n for n in "abcdefgh" if wanted.get(n) or pool.unsettled.get(n))
    result = plan(pool, ranked, budget=budget, slots=slots)
    assert sum(result.grants.values()) <= budget
    assert len(result.grants) <= slots
    assert not set(result.evictions) & set(result.grants)
    for name, count in result.evictions.items():
        del pool.held[name][len(pool.held[name]) - count :]
    assert result.reserved_blocks <= pool.free_blocks()
    for name, tokens in result.grants.items():
        assert tokens <= wanted.get(name, 0) + pool.unsettled.get(name, 0)
    # Where nobody ranks above it, the best can take from everybody but those who share its blocks.
    first = next((n for n in ranked if wanted.get(n)), None)
    if (
        first
        and all(n >= first for n in held)
        and min(wanted[first], budget) <= (total - len(pool.held.get(first, ()))) * BLOCK
    ):
        assert first in result.grants


def test_what_is_spared_is_taken_only_where_nothing_else_goes_on() -> None:
    def pool(**values: Any) -> Pool:
        return Pool(
            total=4, held={"z": [0, 1, 2, 3]}, spared={"z"}, wanted={"a": 8, "y": 1}, **values
        )

    stuck = pool()
    assert plan(stuck, "a").evictions == {"z": 2}
    assert stuck.waived
    assert plan(pool(away={"a": 2}), "a").restores == ["a"]
    working = pool(open={"y"})
    working.held["z"] = [0, 1, 2]
    assert plan(working, "ay").grants == {"y": 1}
    assert not working.waived


def test_who_finds_too_little_says_nothing_about_other_kinds() -> None:
    pool = Pool(
        total=3,
        held={"m": [0, 1], "a": [2]},
        wanted={"p": 8, "b": 8, "c": 8},
        kinds={"p": "x", "b": "y", "c": "x"},
    )
    # p may take nothing; b is another kind, c would be spared the search.
    assert plan(pool, "pbc").grants == {"b": 8}
