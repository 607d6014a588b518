"""Training sequences of random tokens: copying and binding are learned before any text is read.

Both kinds draw from the whole vocabulary, so that what is learned holds for every token, and both
vary length, distance and how many tokens of history tell two places apart. Question answering
alone, started from scratch, only ever learned to answer with *some* value of the context.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """One training sequence.

    ``tokens``: ids, (length,). ``learn``: (length,), whether the token at that place is to be
    predicted from those before it. ``breaks``: places where a position gap does no harm, in
    increasing order.
    """

    tokens: Ids
    learn: Mask
    breaks: Ids


def copied_segments(rng: np.random.Generator, vocabulary: Ids, length: int) -> Sequence:
    """Draws random tokens followed by shuffled pieces of them.

    A small alphabet makes single tokens, pairs and triples recur, so that longer history is needed.

    Args:
        rng: Source of randomness.
        vocabulary: Ids to draw from.
        length: Tokens in the sequence.

    Returns:
        The sequence; a piece is learned from where its beginning tells its place in the source.
    """
    source_length = int(length * rng.uniform(0.3, 0.6))
    size = int(np.exp(rng.uniform(math.log(8), math.log(len(vocabulary)))))
    alphabet = rng.choice(vocabulary, size=size, replace=False)
    source = rng.choice(alphabet, size=source_length)
    history = 1 + math.ceil(math.log(source_length) / math.log(size))
    parts, learn = [source], [np.zeros(source_length, dtype=np.bool_)]
    total = source_length
    while total < length:
        piece_length = min(int(rng.integers(history + 4, history + 40)), source_length)
        start = int(rng.integers(0, source_length - piece_length + 1))
        parts.append(source[start : start + piece_length])
        learn.append(np.arange(piece_length) >= history)
        total += piece_length
    breaks = np.sort(rng.integers(1, length, size=4))
    return Sequence(
        tokens=np.concatenate(parts)[:length], learn=np.concatenate(learn)[:length], breaks=breaks
    )


def bound_statements(rng: np.random.Generator, vocabulary: Ids, length: int) -> Sequence:
    """Draws statements "a of e is v" in random tokens, then repeats them in another order.

    Attributes and entities come from small pools and each entity has several attributes, so a
    value is only found by attribute *and* entity.

    Args:
        rng: Source of randomness.
        vocabulary: Ids to draw from.
        length: Tokens in the sequence.

    Returns:
        The sequence; the values in the repetition are learned.
    """
    words = [rng.choice(vocabulary, size=int(rng.integers(1, 3))) for _ in range(4)]
    syllables = rng.choice(vocabulary, size=int(rng.integers(16, 400)))

    def name() -> Ids:
        return rng.choice(syllables, size=int(rng.integers(1, 5)))

    attributes = [rng.choice(vocabulary, size=1) for _ in range(int(rng.integers(3, 16)))]
    statements: list[tuple[Ids, Ids]] = []
    used, budget = 0, int(length * rng.uniform(0.3, 0.6))
    while used < budget:
        entity = name()
        chosen = rng.permutation(len(attributes))[: int(rng.integers(1, 5))]
        for index in chosen:
            head = np.concatenate((words[0], attributes[index], words[1], entity, words[2]))
            statements.append((head, np.concatenate((name(), words[3]))))
            used += len(head) + len(statements[-1][1])
    tokens: list[Ids] = []
    learn: list[Mask] = []
    breaks: list[int] = []
    total, repeating = 0, False
    while total < length:
        for index in rng.permutation(len(statements)):
            for part, wanted in zip(statements[index], (False, True), strict=True):
                tokens.append(part)
                learn.append(np.full(len(part), wanted and repeating))
                total += len(part)
            breaks.append(total)
        repeating = True
    return Sequence(
        tokens=np.concatenate(tokens)[:length],
        learn=np.concatenate(learn)[:length],
        breaks=np.array([place for place in breaks if place < length], dtype=np.int64),
    )
