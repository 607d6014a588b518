"""A Llama with random weights, for measurements that need no download."""

import shutil
from pathlib import Path
from typing import Any

from stream2llm_rag.reader import reader_model

__all__ = ["RANDOM_LLAMAS", "random_llama_arguments", "save_random_llama"]

RANDOM_LLAMAS: dict[str, dict[str, Any]] = {
    "30m": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": True,
    },
    # Llama-3.1-8B.
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128_256,
        "max_position_embeddings": 131_072,
        "rope_theta": 500_000.0,
        "tie_word_embeddings": False,
    },
}
# Too large to write to disk for a measurement: vLLM makes the weights up.
_WITHOUT_WEIGHTS = frozenset({"8b"})
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def random_llama_arguments(size: str) -> dict[str, Any]:
    """Returns the fields of vLLM's ``EngineArgs`` that a saved model of this size needs."""
    return {"load_format": "dummy"} if size in _WITHOUT_WEIGHTS else {}


def save_random_llama(size: str, directory: Path) -> str:
    """Writes the model in bfloat16, with the shipped reader's tokenizer.

    Weights of a large one are not written; see :func:`random_llama_arguments`.

    Args:
        size: One of ``RANDOM_LLAMAS``.
        directory: Where it goes.

    Returns:
        What the model is, in words.
    """
    import torch
    from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

    source = reader_model()
    for name in _TOKENIZER:
        shutil.copy(source / name, directory)
    shape = {"vocab_size": AutoConfig.from_pretrained(source).vocab_size, **RANDOM_LLAMAS[size]}
    config = LlamaConfig(
        **shape,
        bos_token_id=None,
        eos_token_id=0,
        dtype="bfloat16",
        architectures=[LlamaForCausalLM.__name__],
    )
    if size in _WITHOUT_WEIGHTS:
        config.save_pretrained(directory)
        with torch.device("meta"):
            parameters = LlamaForCausalLM(config).num_parameters()
    else:
        parameters = _save_weights(config, directory)
    return (
        f"Llama with random weights, {parameters / 1e6:.0f} M parameters"
        f" ({shape['num_hidden_layers']} layers, hidden size {shape['hidden_size']},"
        f" {shape['num_key_value_heads']} KV heads of {shape['head_dim']})"
    )


def _save_weights(config: Any, directory: Path) -> int:
    import torch
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    torch.manual_seed(0)
    # Saving takes no time; its progress bar would only get between ours.
    logging.disable_progress_bar()
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory)
    parameters: int = model.num_parameters()
    return parameters
