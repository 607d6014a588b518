"""Draws the training batch of a step; the same seed and step give the same batch."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stream2llm_rag.reader.conversations import conversation
from stream2llm_rag.reader.copying import Ids, Sequence, bound_statements, copied_segments
from stream2llm_rag.reader.tokenizer import SPECIAL_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from stream2llm_rag.reader.curriculum import Stage

_MOST_GAPS = 4
_LARGEST_GAP = 1024


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences of one length and one kind.

    ``tokens`` and ``positions``: (batch, length), int64. ``learn``: (batch, length), bool, the
    tokens to predict. ``kind``: name of the function that drew them.
    """

    tokens: Tensor
    positions: Tensor
    learn: Tensor
    kind: str


def draw_batch(
    *, seed: int, step: int, stage: Stage, tokenizer: Tokenizer, tokens_per_step: int
) -> Batch:
    """Draws the batch of one step.

    Args:
        seed: Seed of the training run.
        step: Number of the step in the whole run.
        stage: The stage the step belongs to.
        tokenizer: The reader's tokenizer.
        tokens_per_step: About how many tokens the batch has.

    Returns:
        The batch.
    """
    rng = np.random.default_rng((seed, step))
    text_rng = random.Random(f"{seed}-{step}")
    vocabulary = np.arange(len(SPECIAL_TOKENS), tokenizer.get_vocab_size(), dtype=np.int64)
    length = int(rng.choice(stage.lengths))
    draw = rng.random()
    kind = (
        conversation.__name__
        if draw >= stage.copying
        else copied_segments.__name__
        if draw < stage.copying * 0.4
        else bound_statements.__name__
    )

    def one() -> Sequence:
        if kind == conversation.__name__:
            return conversation(text_rng, tokenizer, stage.conversations, length)
        if kind == copied_segments.__name__:
            return copied_segments(rng, vocabulary, length)
        return bound_statements(rng, vocabulary, length)

    sequences = [one() for _ in range(max(1, tokens_per_step // length))]
    return Batch(
        tokens=_stack([sequence.tokens for sequence in sequences]),
        positions=_stack([_positions(rng, sequence) for sequence in sequences]),
        learn=torch.from_numpy(np.stack([sequence.learn for sequence in sequences])),
        kind=kind,
    )


def _positions(rng: np.random.Generator, sequence: Sequence) -> Ids:
    """Counts up, in half of the sequences with gaps: distances longer than the sequence itself."""
    positions = np.arange(len(sequence.tokens), dtype=np.int64)
    if rng.random() < 0.5:
        count = min(int(rng.integers(1, _MOST_GAPS + 1)), len(sequence.breaks))
        for place in rng.choice(sequence.breaks, size=count, replace=False):
            positions[place:] += int(np.exp(rng.uniform(0.0, math.log(_LARGEST_GAP))))
    return positions


def _stack(rows: list[Ids]) -> Tensor:
    return torch.from_numpy(np.stack(rows))
