from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream2llm_engine.errors import InvalidRequestError
from stream2llm_engine.tokens import common_prefix_length, validated_token_ids

few = st.lists(st.integers(0, 2), max_size=40)


@given(old=few, new=few)
def test_common_prefix_length_is_that_of_the_lists(old: list[int], new: list[int]) -> None:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False))
    assert common_prefix_length(old, new) == sum(1 for _ in same)


@given(shared=st.lists(st.integers(0, 50_000), max_size=3000), tail=few, other=few)
def test_common_prefix_of_long_prompts(
    shared: list[int], tail: list[int], other: list[int]
) -> None:
    length = common_prefix_length(shared + tail, shared + other)
    assert length == len(shared) + common_prefix_length(tail, other)


def test_validated_ids_are_a_private_copy() -> None:
    given_ids = [1, 2, 3]
    ids = validated_token_ids(given_ids, 10)
    assert ids == given_ids
    assert ids is not given_ids
    assert validated_token_ids((), 10) == []
    assert validated_token_ids(range(4), 10) == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [[10], [-1], ["x"], [None], [[1]], [0.5], 7, "text", [[1], [2, 3]]])
def test_wrong_ids(bad: object) -> None:
    with pytest.raises(InvalidRequestError):
        validated_token_ids(bad, 10)  # type: ignore[arg-type]
