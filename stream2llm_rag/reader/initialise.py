"""Starts the network with the circuit that copying needs, instead of waiting for it to form.

From plain random weights the step from "some word of the context" to "the word that followed here
before" takes most of a training run on two cores. So the first layers begin as heads that look a
fixed number of tokens back, and the later ones as heads that look for a place with the same recent
tokens and copy what follows it. Training then changes all of it; nothing is frozen.

With rotary positions and no biases, looking ``d`` tokens back takes a direction that every token
shares: its query is the key turned by ``d`` positions, on the fast frequencies. Comparing tokens at
any distance is left to the slow frequencies, which hardly turn within the context length.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from stream2llm_rag.reader.network import ReaderNetwork

_LOOK_BACK = ((1, 2, 3, 4), (5, 6, 7))
"""For the heads of the first layers, how many tokens back they look."""

_HASH = 32
"""Dimensions in which one earlier token is remembered, and in which places are compared."""

_FAST_PAIRS = 8
_SHARPNESS = 5.0
"""Weight of each fast frequency in the scores of a head that looks back."""

_SHARED = 0.6
"""Length of the direction that all embeddings share, relative to what differs between them."""

_WRITTEN = 0.6
"""Length of what a head that looks back writes, relative to an embedding."""

_COPIED = 6.0
"""Length of what a head that copies writes, relative to an embedding."""


def initialise(network: ReaderNetwork, *, seed: int) -> None:
    """Sets all weights.

    Args:
        network: A network with at least three layers and four heads; changed in place.
        seed: Seed of the random parts.
    """
    torch.manual_seed(seed)
    shape = network.shape
    for parameter in network.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.4 / math.sqrt(parameter.shape[1]))
    basis = _orthogonal(shape.hidden_size)
    shared, hashed = basis[0], basis[1 : 1 + _HASH]
    # After the norm an embedding has this length, so the shared direction has `gain * _SHARED`.
    gain = math.sqrt(shape.hidden_size) / math.sqrt(1 + _SHARED**2)
    places = [hashed.T]
    with torch.no_grad():
        network.model.embed_tokens.weight.copy_(_embedding(shape.vocab_size, shared))
        for depth, attention in enumerate(layer.self_attn for layer in network.model.layers):
            if depth < len(_LOOK_BACK):
                # The deeper the layer, the smaller the shared part of what it reads.
                weight = (1 + depth) * _SHARPNESS * math.sqrt(shape.head_dim)
                for head, offset in enumerate(_LOOK_BACK[depth]):
                    query, key = _turned(offset, network, weight)
                    places.append(_orthogonal(shape.hidden_size)[:, :_HASH])
                    _set_head(
                        attention,
                        slice(head * shape.head_dim, (head + 1) * shape.head_dim),
                        query=torch.outer(query, shared) / (gain * _SHARED),
                        key=torch.outer(key, shared) / (gain * _SHARED),
                        value=_padded(hashed, shape.head_dim),
                        output=_padded(places[-1].T, shape.head_dim).T
                        * _WRITTEN
                        / (gain * math.sqrt(_HASH / shape.hidden_size)),
                    )
            else:
                values = _orthogonal(shape.hidden_size)
                for head in range(shape.num_attention_heads):
                    rows = slice(head * shape.head_dim, (head + 1) * shape.head_dim)
                    query, key = _comparison(places, shape.head_dim)
                    _set_head(
                        attention,
                        rows,
                        query=query,
                        key=key,
                        value=values[rows],
                        output=values[rows].T * _COPIED / gain,
                    )


def _embedding(tokens: int, shared: Tensor) -> Tensor:
    embedding = torch.randn(tokens, len(shared))
    embedding -= (embedding @ shared)[:, None] * shared
    return embedding / embedding.norm(dim=1, keepdim=True) + _SHARED * shared


def _turned(offset: int, network: ReaderNetwork, weight: float) -> tuple[Tensor, Tensor]:
    """Returns a query and a key whose score is largest ``offset`` tokens apart."""
    half = network.shape.head_dim // 2
    angles = network.get_buffer("_frequencies") * offset
    amplitude = torch.zeros(half)
    amplitude[:_FAST_PAIRS] = math.sqrt(weight)
    key = torch.cat((amplitude, torch.zeros(half)))
    query = torch.cat((amplitude * angles.cos(), -amplitude * angles.sin()))
    return query, key


def _comparison(places: list[Tensor], head_dim: int) -> tuple[Tensor, Tensor]:
    """Returns weights that score how many of a query's last tokens precede the key's own."""
    width = len(places[0])
    query, key = torch.zeros(head_dim, width), torch.zeros(head_dim, width)
    slow = torch.arange(head_dim).view(2, -1)[:, -_HASH // 2 :].reshape(-1)
    for here, one_further in pairwise(places):
        mix = _orthogonal(_HASH)
        query[slow] += mix @ here.T
        key[slow] += mix @ one_further.T
    return query, key


def _set_head(
    attention: Any, rows: slice, *, query: Tensor, key: Tensor, value: Tensor, output: Tensor
) -> None:
    attention.q_proj.weight[rows] = query
    attention.k_proj.weight[rows] = key
    attention.v_proj.weight[rows] = value
    attention.o_proj.weight[:, rows] = output


def _padded(rows: Tensor, count: int) -> Tensor:
    return torch.cat((rows, torch.zeros(count - len(rows), rows.shape[1])))


def _orthogonal(size: int) -> Tensor:
    matrix: Tensor = torch.linalg.qr(torch.randn(size, size))[0]
    return matrix
