"""The order in which the reader learns: copying, then few documents, then many."""

from __future__ import annotations

from dataclasses import dataclass

from stream2llm_rag.reader.conversations import ConversationMix


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stretch of training.

    ``steps``: optimiser steps. ``lengths``: sequence lengths, tokens, of which each step draws one.
    ``copying``: share of steps on random tokens. ``conversations``: the text of the other steps.
    ``learning_rate``: (at the start, at the end) of the stage, linear in between.
    """

    steps: int
    lengths: tuple[int, ...]
    copying: float
    conversations: ConversationMix
    learning_rate: tuple[float, float]


STAGES: tuple[Stage, ...] = (
    Stage(
        steps=350,
        lengths=(128, 256, 512),
        copying=1.0,
        conversations=ConversationMix(documents=(1, 1)),
        learning_rate=(1e-3, 1e-3),
    ),
    Stage(
        steps=600,
        lengths=(256, 512),
        copying=0.35,
        conversations=ConversationMix(documents=(1, 4), varied_prompts=0.3),
        learning_rate=(1e-3, 1e-3),
    ),
    Stage(
        steps=1000,
        lengths=(512, 1024),
        copying=0.15,
        conversations=ConversationMix(documents=(1, 14), plain=0.5, absent=0.05, wild=0.15),
        learning_rate=(1e-3, 1e-3),
    ),
    Stage(
        steps=550,
        lengths=(1024, 2048, 2048, 4096),
        copying=0.08,
        conversations=ConversationMix(documents=(2, 44), plain=0.5, absent=0.1, wild=0.15),
        learning_rate=(1e-3, 7.3325e-4),
    ),
    Stage(
        steps=550,
        lengths=(512, 1024, 2048, 2048),
        copying=0.06,
        conversations=ConversationMix(documents=(2, 30), plain=0.4, absent=0.15, wild=0.12),
        learning_rate=(7.3325e-4, 2e-5),
    ),
)
"""The curriculum of the shipped weights."""
