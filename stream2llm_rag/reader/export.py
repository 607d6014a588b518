"""Writes a trained network as a model directory that Transformers and vLLM load."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from stream2llm_rag.reader.tokenizer import END, SPECIAL_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stream2llm_rag.reader.network import ReaderNetwork


def save_model(network: ReaderNetwork, directory: Path) -> None:
    """Writes configuration and float32 weights; the tokenizer is written by its own module.

    Args:
        network: The trained network.
        directory: Where to write; created if missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shape = network.shape
    end = SPECIAL_TOKENS.index(END)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.max_position_embeddings,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rms_norm_eps": shape.norm_eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": end,
        "dtype": "float32",
    }
    generation = {"do_sample": False, "eos_token_id": end, "pad_token_id": end}
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", generation)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
