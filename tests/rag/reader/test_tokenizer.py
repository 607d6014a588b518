from itertools import chain
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from stream2llm_rag.reader import World, reader_model
from stream2llm_rag.reader._words import ATTRIBUTES
from stream2llm_rag.reader.tokenizer import (
    SPECIAL_TOKENS,
    VOCABULARY_SIZE,
    build_tokenizer,
    training_texts,
)

SHIPPED: Any = transformers.AutoTokenizer.from_pretrained(reader_model())
PLAIN_TEXT = st.text().filter(lambda text: not any(token in text for token in SPECIAL_TOKENS))


def ids(text: str) -> list[int]:
    encoded: list[int] = SHIPPED.encode(text)
    return encoded


@settings(deadline=None)
@given(st.text())
def test_any_text_survives_the_round_trip(text: str) -> None:
    assert SHIPPED.decode(ids(text)) == text


@settings(deadline=None)
@given(PLAIN_TEXT, st.text())
def test_a_segment_ending_in_a_newline_can_be_tokenised_on_its_own(first: str, rest: str) -> None:
    assert ids(f"{first}\n") + ids(rest) == ids(f"{first}\n{rest}")


@settings(deadline=None)
@given(st.text(), st.text())
def test_a_segment_beginning_with_a_newline_can_be_tokenised_on_its_own(
    first: str, rest: str
) -> None:
    assert ids(first) + ids(f"\n{rest}") == ids(f"{first}\n{rest}")


def test_the_documents_of_a_world_tokenise_the_same_apart_and_together() -> None:
    segments = [f"[{i}] {d.title}\n{d.text}\n\n" for i, d in enumerate(World(seed=0).documents)]
    assert list(chain.from_iterable(map(ids, segments))) == ids("".join(segments))


def test_special_tokens_are_single_and_nothing_is_added() -> None:
    assert [ids(token) for token in SPECIAL_TOKENS] == [[i] for i in range(len(SPECIAL_TOKENS))]
    assert ids("") == []
    assert SHIPPED.bos_token is None
    assert SHIPPED.eos_token == "<|end|>"


def test_attributes_are_single_tokens() -> None:
    assert all(len(ids(f" {attribute}")) == 1 for attribute in ATTRIBUTES)


def test_the_chat_template_gives_the_prompt_the_reader_was_trained_on() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Bye"},
    ]
    text = SHIPPED.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHello?<|end|>\n<|assistant|>\nYes.<|end|>\n"
        "<|user|>\nBye<|end|>\n<|assistant|>\n"
    )


@pytest.fixture(scope="module")
def rebuilt() -> Tokenizer:
    return build_tokenizer(training_texts())


def test_the_shipped_tokenizer_is_the_one_the_script_builds(rebuilt: Tokenizer) -> None:
    shipped = Tokenizer.from_file(str(reader_model() / "tokenizer.json"))
    assert rebuilt.to_str() == shipped.to_str()
    assert shipped.get_vocab_size() == VOCABULARY_SIZE
