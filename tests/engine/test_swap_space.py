from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream2llm_engine.swap_space import SwapSpace


def test_blocks_are_neighbours_while_the_pool_is_fresh() -> None:
    space = SwapSpace(10)
    assert space.reserve(4) == [0, 1, 2, 3]
    assert space.reserve(6) == [4, 5, 6, 7, 8, 9]
    assert space.reserve(1) is None
    assert space.free_blocks == 0


def test_what_does_not_fit_takes_nothing() -> None:
    space = SwapSpace(3)
    assert space.reserve(4) is None
    assert space.free_blocks == 3


def test_neighbours_that_come_back_are_handed_out_together() -> None:
    space = SwapSpace(12)
    parts = [space.reserve(3) for _ in range(4)]
    for part in (parts[2], parts[0], parts[1]):
        assert part is not None
        space.release(part)
    assert space.reserve(9) == list(range(9))


def test_the_shortest_run_that_is_long_enough_is_taken() -> None:
    space = SwapSpace(20)
    parts = [space.reserve(count) or [] for count in (6, 1, 3, 1, 4)]
    space.release(parts[0])
    space.release(parts[2])
    assert space.reserve(3) == parts[2]
    space.release(parts[2])
    # None is long enough: the longest ones are used up first.
    assert space.reserve(8) == [*parts[0], 15, 16]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=60))
def test_no_block_is_given_twice_or_lost(steps: list[tuple[bool, int]]) -> None:
    space = SwapSpace(16)
    held: list[list[int]] = []
    for take, size in steps:
        if take:
            got = space.reserve(size)
            assert (got is None) == (size > 16 - sum(map(len, held)))
            if got is not None:
                assert got == sorted(got)
                held.append(got)
        elif held:
            space.release(held.pop(size % len(held)))
        ids = [i for ids in held for i in ids]
        assert len(ids) == len(set(ids))
        assert space.free_blocks == 16 - len(ids)
