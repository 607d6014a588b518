"""The reader's network: a plain Llama, written out so that training can choose its own positions.

The parameter names are those of ``transformers.LlamaForCausalLM``, so a state dict loads there
unchanged (a test holds the two to the same logits). Training needs what that class does not offer:
positions with gaps, which teach long distances on short sequences, without their being read as
packed sequences.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class ReaderShape:
    """Sizes of the network; all but ``rope_theta`` and ``norm_eps`` are counts."""

    vocab_size: int
    hidden_size: int = 256
    intermediate_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 64
    max_position_embeddings: int = 8192
    rope_theta: float = 1e8
    norm_eps: float = 1e-5

    def to_dict(self) -> dict[str, Any]:
        """Returns the sizes as a JSON-ready mapping."""
        return asdict(self)


class _Attention(nn.Module):  # type: ignore[misc]  # torch is not followed
    def __init__(self, shape: ReaderShape) -> None:
        super().__init__()
        self.heads = shape.num_attention_heads
        self.kv_heads = shape.num_key_value_heads
        self.head_dim = shape.head_dim
        width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(width, shape.hidden_size, bias=False)

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = hidden.shape
        query = self.q_proj(hidden).view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        key = self.k_proj(hidden).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        value = self.v_proj(hidden).view(batch, length, self.kv_heads, self.head_dim)
        mixed = functional.scaled_dot_product_attention(
            _rotate(query, cos, sin),
            _rotate(key, cos, sin),
            value.transpose(1, 2),
            is_causal=True,
            enable_gqa=self.heads != self.kv_heads,
        )
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return output


class _FeedForward(nn.Module):  # type: ignore[misc]  # torch is not followed
    def __init__(self, shape: ReaderShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.down_proj(
            functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden)
        )
        return output


class _Layer(nn.Module):  # type: ignore[misc]  # torch is not followed
    def __init__(self, shape: ReaderShape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape)
        self.mlp = _FeedForward(shape)
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.norm_eps)

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cos, sin)
        output: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return output


class _Backbone(nn.Module):  # type: ignore[misc]  # torch is not followed
    def __init__(self, shape: ReaderShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = nn.RMSNorm(shape.hidden_size, eps=shape.norm_eps)


class ReaderNetwork(nn.Module):  # type: ignore[misc]  # torch is not followed
    """A causal language model with tied input and output embeddings.

    Args:
        shape: Sizes of the network.
    """

    def __init__(self, shape: ReaderShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Backbone(shape)
        exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
        self.register_buffer("_frequencies", shape.rope_theta**-exponents, persistent=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def hidden(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Runs the layers.

        Args:
            tokens: Token ids, (batch, length), int64.
            positions: Increasing positions, (batch, length), int64; gaps are allowed.

        Returns:
            Normalised hidden states, (batch, length, hidden_size).
        """
        frequencies: Tensor = self.get_buffer("_frequencies")
        angles = positions[:, None, :, None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos(), angles.sin()
        hidden = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            hidden = layer(hidden, cos, sin)
        output: Tensor = self.model.norm(hidden)
        return output

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores the vocabulary for hidden states of shape (..., hidden_size)."""
        return functional.linear(hidden, self.model.embed_tokens.weight)


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = states.chunk(2, dim=-1)
    rotated = torch.cat((-second, first), dim=-1)
    return states * cos.to(states.dtype) + rotated * sin.to(states.dtype)
