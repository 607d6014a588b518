"""Samples of one measure, repetition by repetition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stream2llm_bench.analysis.statistics import (
    POINTS,
    Estimate,
    Point,
    Samples,
    percentile_estimates,
    percentile_ratios,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Series", "rows"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Samples by the seed or number of the repetition.

    Attributes:
        repetitions: None of them empty.
        whole: Those in which row ``i`` is query ``i`` of the trace, because no query is missing.
    """

    repetitions: dict[int, Samples]
    whole: frozenset[int] = frozenset()

    def estimates(self, points: Sequence[Point] = POINTS) -> dict[Point, Estimate]:
        """Estimate percentiles; nothing where there are no samples."""
        return percentile_estimates(list(self.repetitions.values()), points)

    def over(self, other: Series, points: Sequence[Point] = POINTS) -> dict[Point, Estimate]:
        """Estimate percentiles of this over those of another one, in the same repetitions."""
        common = [number for number in self.repetitions if number in other.repetitions]
        above = [self.repetitions[number] for number in common]
        below = [other.repetitions[number] for number in common]
        paired = [
            number in self.whole & other.whole and len(a) == len(b)
            for number, a, b in zip(common, above, below, strict=True)
        ]
        return percentile_ratios(above, below, points, paired=paired)


def rows(values: Sequence[float], things: int | None = None) -> Samples:
    """Return samples with a row for each thing that they are of.

    Args:
        values: The samples, thing by thing.
        things: How many; without it, and where things have unequally many samples, every sample
            gets a row of its own.
    """
    samples = np.asarray(values, dtype=np.float64)
    if not things or samples.size % things:
        things = samples.size
    return samples.reshape(things, -1)
