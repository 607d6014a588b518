"""Documents that many queries find."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stream2llm_rag.workloads._tokens import TokenSpace

__all__ = ["SharedCorpus"]


class SharedCorpus:
    """Documents with Zipf popularity, each with the same tokens in every query."""

    def __init__(self, space: TokenSpace, sizes: NDArray[np.float64], exponent: float) -> None:
        self._documents = [space.document(max(round(size), 1)) for size in sizes.tolist()]
        popularity = np.arange(1, 1 + len(sizes), dtype=np.float64) ** -exponent
        self._shares = popularity / popularity.sum()

    def draw(self, rng: Generator, count: int) -> list[list[int]]:
        """Returns the tokens of ``count`` different documents."""
        chosen = rng.choice(len(self._documents), count, replace=False, p=self._shares)
        return [self._documents[number] for number in chosen.tolist()]
