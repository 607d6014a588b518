"""A tokenizer and a tiny model with marks for reasoning and tool calls, as Qwen 3 has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream2llm_engine import EngineConfig
from tests.support.models import save_lora_adapter, save_random_llama, save_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "REASONING_PARSER",
    "TOOL_CALL_PARSER",
    "brief_sampling",
    "chat_engine_config",
    "load_chat_tokenizer",
    "save_chat_llama",
    "save_chat_llama_and_adapter",
]

TOOL_CALL_PARSER = "hermes"
REASONING_PARSER = "deepseek_r1"

_MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
_TEMPLATE = """\
{%- if tools %}<|system|>
{% for tool in tools %}{{ tool.function | tojson }}
{% endfor %}<|end|>
{% endif -%}
{%- for m in messages %}<|{{ m.role }}|>
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>
{% endif %}{{ m.content }}
{%- for call in m.tool_calls or [] %}<tool_call>
{{ {"name": call.function.name, "arguments": call.function.arguments} | tojson }}
</tool_call>{% endfor %}<|end|>
{% endfor -%}
{%- if add_generation_prompt %}<|assistant|>
<think>
{% if not enable_thinking %}
</think>

{% endif %}{% endif -%}
"""


def load_chat_tokenizer(directory: Path) -> Any:
    """Saves the tokenizer to ``directory`` and returns it."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    save_tokenizer(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in _MARKS])
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(directory)
    return tokenizer


def save_chat_llama(directory: Path) -> Path:
    """Saves a random float32 Llama with that tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    save_random_llama(directory)
    tokenizer = load_chat_tokenizer(directory)
    torch.manual_seed(5)
    network = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network.save_pretrained(directory)
    return directory


def chat_engine_config(model: Path) -> EngineConfig:
    """Runs the model with its reasoning parser, with LoRA, and with grammars without spaces."""
    from vllm.config import StructuredOutputsConfig

    return EngineConfig(
        model=str(model),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 2048,
            "kv_cache_memory_bytes": 64 * 2**20,
            "enable_lora": True,
            "max_lora_rank": 8,
            "reasoning_parser": REASONING_PARSER,
            "structured_outputs_config": StructuredOutputsConfig(
                backend="xgrammar", disable_any_whitespace=True
            ),
        },
    )


def brief_sampling(tokenizer: Any, **more: float) -> dict[str, Any]:
    """Sampling that writes a few letters and then closes what is open.

    Random weights would go on without end: they neither know JSON nor how to stop.

    Args:
        tokenizer: The tokenizer.
        more: Other texts of one token, with how much they are liked.
    """
    closing = dict.fromkeys(["}", "]", ",", "<|end|>"], 50.0)
    likes = {"a": 95.0, '"': 80.0, **closing, **more}
    bias = {}
    for text, like in likes.items():
        (token_id,) = tokenizer.encode(text, add_special_tokens=False)
        bias[token_id] = like
    return {"logit_bias": bias, "frequency_penalty": 1.0}


def save_chat_llama_and_adapter(home: Path) -> Path:
    """Saves the model to ``model`` in a folder and an adapter for it to ``adapter``."""
    for name in ("model", "adapter", "merged"):
        (home / name).mkdir()
    save_chat_llama(home / "model")
    save_lora_adapter(home / "adapter", home / "model", home / "merged")
    return home
