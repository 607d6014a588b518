"""What every engine of the benchmarks runs: a Llama with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from stream2llm_bench.playing.scenarios import MAX_MODEL_LEN, TOKEN_BUDGET
from stream2llm_rag.random_llama import RANDOM_LLAMAS, random_llama_arguments, save_random_llama

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Machine", "random_machine"]


class Machine(NamedTuple):
    """A model and what has to be known of it.

    Attributes:
        model: Its directory.
        vocabulary: Size of its vocabulary.
        kv_bytes_per_token: KV cache of a token.
        label: What it is, in words.
        max_model_len: Longest sequence in tokens.
        token_budget: Tokens a step may compute.
        engine_arguments: Further fields of vLLM's ``EngineArgs``, for all systems.
    """

    model: Path
    vocabulary: int
    kv_bytes_per_token: int
    label: str
    max_model_len: int = MAX_MODEL_LEN
    token_budget: int = TOKEN_BUDGET
    engine_arguments: tuple[tuple[str, Any], ...] = ()


def random_machine(directory: Path, size: str = "30m") -> Machine:
    """Write the model into a directory.

    Args:
        directory: Where it goes.
        size: One of ``RANDOM_LLAMAS``.
    """
    from transformers import AutoConfig

    label = save_random_llama(size, directory)
    shape = RANDOM_LLAMAS[size]
    # Keys and values in two bytes each.
    kv_bytes = 2 * 2 * shape["num_hidden_layers"] * shape["num_key_value_heads"] * shape["head_dim"]
    vocabulary = AutoConfig.from_pretrained(directory).vocab_size
    return Machine(
        directory,
        vocabulary,
        kv_bytes,
        label,
        engine_arguments=tuple(random_llama_arguments(size).items()),
    )
