"""Tiny models made on the spot: no hub is needed, and every test knows what it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "CHAT_TEMPLATE",
    "save_lora_adapter",
    "save_random_gemma3",
    "save_random_llama",
    "save_random_qwen3",
    "save_tokenizer",
]

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>"]
_CORPUS = [
    "The capital of Zorland is Mirapol. The river of Zorland is Tessin.",
    "Answer the question from the documents. Question: what is the capital of Zorland?",
    "Streaming retrieval sends every document to the model as soon as it is found.",
    "0 1 2 3 4 5 6 7 8 9 10 100 1000 , ; : ! ? ( ) [ ] { } < > / \\ | - _ = + * & ^ % $ # @",
] * 8


def save_tokenizer(directory: Path) -> int:
    """Train a byte-level BPE tokenizer with a chat template; return its vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=_SPECIAL[1:4],
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(directory)
    return len(fast)


def save_random_llama(
    directory: Path, *, seed: int = 0, max_position_embeddings: int = 4096
) -> Path:
    """Save a float32 Llama with random weights that react to every context token.

    At the default ``initializer_range`` a random model repeats its last token whatever the context
    is, so it could not show a stale KV block.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    vocab_size = save_tokenizer(directory)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=max_position_embeddings,
        initializer_range=0.25,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=None,
        dtype="float32",
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


_SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 2048,
    "initializer_range": 0.25,
    "eos_token_id": 0,
    "bos_token_id": None,
    "dtype": "float32",
}


def save_random_qwen3(directory: Path) -> Path:
    """Save a float32 Qwen3 with random weights: full attention with normalised queries and keys."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=save_tokenizer(directory),
        num_hidden_layers=2,
        tie_word_embeddings=True,
        **_SMALL,
    )
    Qwen3ForCausalLM(config).save_pretrained(directory)
    return directory


def save_random_gemma3(directory: Path) -> Path:
    """Save a float32 Gemma 3 with random weights, two of three layers with a 64-token window."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(2)
    config = Gemma3TextConfig(
        vocab_size=save_tokenizer(directory),
        num_hidden_layers=3,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        sliding_window=64,
        query_pre_attn_scalar=32,
        **_SMALL,
    )
    Gemma3ForCausalLM(config).save_pretrained(directory)
    return directory


def save_lora_adapter(directory: Path, model: Path, merged: Path) -> Path:
    """Save a random LoRA adapter for a Llama, and the model with it merged.

    Args:
        directory: Where the adapter goes.
        model: Directory of the Llama it is for.
        merged: Where the merged model goes; its answers are those of model and adapter.
    """
    import json

    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(3)
    rank, alpha = 4, 8
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    tensors = {}
    for index, layer in enumerate(network.model.layers):
        for name in ("q_proj", "v_proj"):
            weight = getattr(layer.self_attn, name).weight
            down = torch.randn(rank, weight.shape[1]) * 0.2
            up = torch.randn(weight.shape[0], rank) * 0.2
            prefix = f"base_model.model.model.layers.{index}.self_attn.{name}"
            tensors[f"{prefix}.lora_A.weight"] = down
            tensors[f"{prefix}.lora_B.weight"] = up
            with torch.no_grad():
                weight += alpha / rank * up @ down
    save_file(tensors, directory / "adapter_model.safetensors")
    (directory / "adapter_config.json").write_text(
        json.dumps(
            {
                "peft_type": "LORA",
                "r": rank,
                "lora_alpha": alpha,
                "target_modules": ["q_proj", "v_proj"],
                "base_model_name_or_path": str(model),
                "bias": "none",
                "task_type": "CAUSAL_LM",
            }
        )
    )
    network.save_pretrained(merged)
    AutoTokenizer.from_pretrained(model).save_pretrained(merged)
    return directory
