import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream2llm_rag.reader import World, parse_question
from stream2llm_rag.reader.wild import wild_attribute, wild_name


def test_every_question_of_a_world_is_of_the_readers_kind() -> None:
    for fact in World(seed=0).facts:
        assert parse_question(fact.question) == (fact.attribute, fact.entity)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_names_of_any_shape_are_recognised(rng: random.Random) -> None:
    attribute, entity = wild_attribute(rng), wild_name(rng)
    assume("of" not in attribute.split())
    assert parse_question(f"What is the {attribute} of {entity}?") == (attribute, entity)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  what's the river of Zorland ?\n", ("river", "Zorland")),
        ("Question: What is the capital of the Isle of Man?", ("capital", "the Isle of Man")),
        ("WHAT IS THE patron saint OF Zorland?", ("patron saint", "Zorland")),
        ("What is the follow-up of Zorland?", ("follow-up", "Zorland")),
    ],
)
def test_spelling_does_not_matter(text: str, expected: tuple[str, str]) -> None:
    assert parse_question(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Who founded Zorland?",
        "What is the capital?",
        "What is the capital of ?",
        "What is the capital of Zorland",
        "What is the capital of Zorland? And its river?\nThanks",
        "Tell me what is the capital of Zorland?",
        "What is of Zorland?",
    ],
)
def test_other_questions_are_not(text: str) -> None:
    assert parse_question(text) is None
