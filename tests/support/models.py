"""Tiny models made on the spot: no hub is needed, and every test knows what it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CHAT_TEMPLATE", "save_random_llama", "save_tokenizer"]

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
