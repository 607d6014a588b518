"""Deterministic embeddings that need no model: texts are near when they share words."""

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

SIZE = 64


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    vectors = np.zeros((len(texts), SIZE), dtype=np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for word in text.lower().split():
            row[zlib.crc32(word.encode()) % SIZE] += 1
    return vectors


async def embed_async(texts: Sequence[str]) -> list[list[float]]:
    return [[float(value) for value in row] for row in embed(texts)]


def embed_sparse(texts: Sequence[str]) -> list[models.SparseVector]:
    counts = [Counter(zlib.crc32(word.encode()) for word in text.lower().split()) for text in texts]
    return [
        models.SparseVector(indices=list(count), values=[float(n) for n in count.values()])
        for count in counts
    ]
