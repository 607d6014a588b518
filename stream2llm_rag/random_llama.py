"""A Llama with random weights, for profiles that need no download."""

import shutil
from pathlib import Path
from typing import Any

from stream2llm_rag.reader import reader_model

__all__ = ["RANDOM_LLAMAS", "save_random_llama"]

RANDOM_LLAMAS: dict[str, dict[str, Any]] = {
    "30m": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
    },
}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def save_random_llama(size: str, directory: Path) -> str:
    """Writes the model in bfloat16, with the shipped reader's tokenizer.

    Args:
        size: One of ``RANDOM_LLAMAS``.
        directory: Where it goes.

    Returns:
        What the model is, in words.
    """
    import torch
    from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    shape = RANDOM_LLAMAS[size]
    source = reader_model()
    for name in _TOKENIZER:
        shutil.copy(source / name, directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        **shape,
        vocab_size=AutoConfig.from_pretrained(source).vocab_size,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        dtype="bfloat16",
    )
    # Saving takes no time; its progress bar would only get between ours.
    logging.disable_progress_bar()
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory)
    return (
        f"Llama with random weights, {model.num_parameters() / 1e6:.0f} M parameters"
        f" ({shape['num_hidden_layers']} layers, hidden size {shape['hidden_size']},"
        f" {shape['num_key_value_heads']} KV heads of {shape['head_dim']})"
    )
