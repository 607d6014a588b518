"""What every engine of the benchmarks runs: a small Llama with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stream2llm_rag.random_llama import RANDOM_LLAMAS, save_random_llama
from stream2llm_rag.reader import reader_model

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Machine", "random_machine"]

_SIZE = "30m"


class Machine(NamedTuple):
    """A model and what has to be known of it.

    Attributes:
        model: Its directory.
        vocabulary: Size of its vocabulary.
        kv_bytes_per_token: KV cache of a token.
        label: What it is, in words.
    """

    model: Path
    vocabulary: int
    kv_bytes_per_token: int
    label: str


def random_machine(directory: Path) -> Machine:
    """Write the model into a directory."""
    from transformers import AutoConfig

    label = save_random_llama(_SIZE, directory)
    shape = RANDOM_LLAMAS[_SIZE]
    # Keys and values in two bytes each.
    kv_bytes = 2 * 2 * shape["num_hidden_layers"] * shape["num_key_value_heads"] * shape["head_dim"]
    vocabulary = AutoConfig.from_pretrained(reader_model()).vocab_size
    return Machine(directory, vocabulary, kv_bytes, label)
