"""Builds the reader's tokenizer: byte-level BPE that never joins text across a newline.

Documents are tokenised one by one and put together, so the same tokens must come out as for the
whole text. Every newline is a piece of its own and a piece never looks ahead, which makes the two
equal wherever a segment ends with a newline or the next begins with a space.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

END, SYSTEM, USER, ASSISTANT = "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS: tuple[str, ...] = (END, SYSTEM, USER, ASSISTANT)
"""Special tokens; their ids are their places here."""

VOCABULARY_SIZE = 2048

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)

_PIECES = r" ?\p{L}+| ?\p{N}|\n| ?[^\s\p{L}\p{N}]+|\s"


def build_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Learns the vocabulary from texts; the same texts give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def training_texts() -> Iterator[str]:
    """Yields the text the vocabulary is learned from: training worlds and the words around them."""
    from stream2llm_rag.reader.prompts import PROMPT_TEXTS
    from stream2llm_rag.reader.world import World

    for seed in range(24):
        for document in World(seed=seed, entities=256, split="train", plain=False).documents:
            yield f"[1] {document.title}\n{document.text}\n"
            yield " ".join(fact.question for fact in document.facts)
        yield from PROMPT_TEXTS


def save_tokenizer(tokenizer: Tokenizer, directory: Path, *, max_length: int) -> None:
    """Writes the files from which ``AutoTokenizer`` loads the tokenizer.

    Args:
        tokenizer: A tokenizer from `build_tokenizer`.
        directory: Where to write; created if missing.
        max_length: The model's context length, tokens.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "additional_special_tokens": [SYSTEM, USER, ASSISTANT],
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
