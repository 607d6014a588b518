import random
import subprocess
import sys

import pytest

from stream2llm_rag.reader import STATEMENTS, World
from stream2llm_rag.reader.world import Split, draw_name, split_of


def names_of(world: World) -> set[str]:
    return {document.title for document in world.documents} | {fact.value for fact in world.facts}


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert World(seed=3).documents == World(seed=3).documents
    assert World(seed=3).documents != World(seed=4).documents


def test_a_world_does_not_depend_on_hash_randomisation() -> None:
    program = "from stream2llm_rag.reader import World; print(World(seed=5, entities=2).documents)"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_held_out_worlds_share_no_name_with_training_worlds() -> None:
    trained = set().union(*(names_of(World(seed=s, split="train")) for s in range(20)))
    held_out = set().union(*(names_of(World(seed=s)) for s in range(20)))
    assert len(trained) > 1000
    assert len(held_out) > 1000
    assert not trained & held_out


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_drawn_names_are_on_the_side_asked_for(split: Split) -> None:
    rng = random.Random(0)
    assert {split_of(draw_name(rng, split)) for _ in range(200)} == {split}


@pytest.mark.parametrize("plain", [True, False])
def test_documents_state_their_facts_and_no_other_documents_do(plain: bool) -> None:
    world = World(seed=1, plain=plain)
    for document in world.documents:
        for fact in document.facts:
            wordings = [wording.format(**vars(fact)) for wording in STATEMENTS]
            assert sum(wording in document.text for wording in wordings) >= 1
            if plain:
                assert fact.statement in document.text
            assert all(
                fact.statement not in other.text
                for other in world.documents
                if other is not document
            )


def test_each_question_has_one_answer() -> None:
    questions = [fact.question for fact in World(seed=2).facts]
    assert len(questions) == len(set(questions))


def test_ids_are_unique_and_the_number_of_facts_is_as_asked() -> None:
    world = World(seed=0, entities=40, facts=(2, 4))
    assert len({document.id for document in world.documents}) == 40
    assert {len(document.facts) for document in world.documents} == {2, 3, 4}


def test_a_revision_answers_the_same_questions_differently() -> None:
    world = World(seed=7)
    old = world.documents[0]
    new = world.revise(world.revise(old))
    assert new.id == old.id.removesuffix("0") + "2"
    assert [fact.question for fact in new.facts] == [fact.question for fact in old.facts]
    for before, after in zip(old.facts, new.facts, strict=True):
        assert before.value != after.value
        assert after.statement in new.text
        assert before.statement not in new.text


def test_names_and_attributes_can_be_replaced() -> None:
    world = World(
        seed=0, entities=2, facts=(1, 1), names=lambda rng: f"N{rng.random()}", attributes=("size",)
    )
    assert all(fact.attribute == "size" and fact.value.startswith("N0.") for fact in world.facts)
