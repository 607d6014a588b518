"""Estimates with 95 % intervals, of percentiles and of their ratios.

A quantity is measured in several repetitions, one for each seed of the traffic. Its estimate is the
median over the repetitions. Two kinds of intervals:

- Percentiles of many samples: the bootstrap. Samples are drawn again within each repetition.
  Samples that belong together, such as the gaps of one answer, are drawn together.
- Numbers that a repetition has only one of: Student's t over the repetitions, on the logarithm.

Both say how far chance within these repetitions goes. Queries that wait in one queue are not
independent of each other, and a machine has better and worse days, so neither is the last word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "POINTS",
    "Estimate",
    "Point",
    "Samples",
    "percentile_estimates",
    "percentile_ratios",
    "repeated",
]

Point: TypeAlias = Literal["p50", "p95", "p99"]
Samples: TypeAlias = NDArray[np.floating[Any]]
"""One repetition: a row for each thing that is drawn as a whole, with one or more values."""

POINTS: tuple[Point, ...] = ("p50", "p95", "p99")

_RESAMPLES = 1000
_FEWEST_ROWS = 5
"""With fewer, even all that was seen is no 95 % interval of a median."""
_ENDS = (2.5, 97.5)
_VALUES_AT_A_TIME = 2_000_000
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles, from one degree of freedom on; the last one serves for more: it is too wide."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and how sure it is.

    Attributes:
        value: The median of the repetitions.
        parts: The number in each repetition.
        interval: Ends of the 95 % interval; ``None`` where there is too little to tell.
    """

    value: float
    parts: tuple[float, ...]
    interval: tuple[float, float] | None

    def times(self, factor: float) -> Estimate:
        """Return the estimate in another unit."""
        return Estimate(
            value=self.value * factor,
            parts=tuple(part * factor for part in self.parts),
            interval=self.interval and (self.interval[0] * factor, self.interval[1] * factor),
        )


def percentile_estimates(
    repetitions: Sequence[Samples], points: Sequence[Point] = POINTS
) -> dict[Point, Estimate]:
    """Estimate percentiles.

    Args:
        repetitions: None of them empty.
        points: Which percentiles.

    Returns:
        One estimate for each of ``points``; nothing where there are no repetitions. Under five rows
        in a repetition there is no interval.
    """
    rng = np.random.default_rng(0)
    found = [_percentiles(one, points) for one in repetitions]
    redrawn = [_bootstrap((one,), points, rng)[0] for one in repetitions]
    return _estimates(found, redrawn, points, fewest=min(map(len, repetitions), default=0))


def percentile_ratios(
    over: Sequence[Samples],
    under: Sequence[Samples],
    points: Sequence[Point] = POINTS,
    *,
    paired: Sequence[bool],
) -> dict[Point, Estimate]:
    """Estimate the ratio of percentiles of two systems, repetition by repetition.

    Args:
        over: What stands above the line. None of the repetitions is empty.
        under: What stands below it, in the same order.
        points: Which percentiles.
        paired: Of each repetition whether row ``i`` of both is about the same query. Then the same
            queries are drawn for both, and what makes a query slow for both cancels out.

    Returns:
        One estimate for each of ``points`` that is a finite number, as of
        :func:`percentile_estimates`.
    """
    rng = np.random.default_rng(0)
    found: list[Samples] = []
    redrawn: list[Samples] = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for above, below, together in zip(over, under, paired, strict=True):
            found.append(_percentiles(above, points) / _percentiles(below, points))
            if together:
                drawn = _bootstrap((above, below), points, rng)
            else:
                drawn = [_bootstrap((one,), points, rng)[0] for one in (above, below)]
            redrawn.append(drawn[0] / drawn[1])
    fewest = min(map(len, (*over, *under)), default=0)
    return _estimates(found, redrawn, points, fewest=fewest)


def repeated(values: Sequence[float]) -> Estimate | None:
    """Estimate a number that every repetition has one of.

    Returns:
        ``None`` where there are no values, or a value is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        return None
    return Estimate(
        value=float(np.median(values)), parts=tuple(values), interval=_student(np.asarray(values))
    )


def _estimates(
    found: list[Samples], redrawn: list[Samples], points: Sequence[Point], *, fewest: int
) -> dict[Point, Estimate]:
    estimates: dict[Point, Estimate] = {}
    if not found:
        return estimates
    parts, medians = np.asarray(found), np.median(redrawn, axis=0)
    for column, point in enumerate(points):
        if not np.isfinite(parts[:, column]).all() or not np.isfinite(medians[:, column]).all():
            continue
        low, high = np.percentile(medians[:, column], _ENDS)
        estimates[point] = Estimate(
            value=float(np.median(parts[:, column])),
            parts=tuple(map(float, parts[:, column])),
            interval=(float(low), float(high)) if fewest >= _FEWEST_ROWS else None,
        )
    return estimates


def _percentiles(samples: Samples, points: Sequence[Point]) -> Samples:
    return np.percentile(samples, [float(point[1:]) for point in points])


def _bootstrap(
    systems: tuple[Samples, ...], points: Sequence[Point], rng: np.random.Generator
) -> list[Samples]:
    """Draw rows again, the same of all systems; returns (resamples, points) of each."""
    rows = len(systems[0])
    wanted = [float(point[1:]) for point in points]
    step = max(1, _VALUES_AT_A_TIME // max(one.size for one in systems))
    drawn: list[list[Samples]] = [[] for _ in systems]
    for start in range(0, _RESAMPLES, step):
        count = min(step, _RESAMPLES - start)
        chosen = rng.integers(rows, size=(count, rows), dtype=np.int32)
        for samples, results in zip(systems, drawn, strict=True):
            values = samples[chosen].reshape(count, -1)
            results.append(np.percentile(values, wanted, axis=1, overwrite_input=True).T)
    return [np.concatenate(results) for results in drawn]


def _student(values: Samples) -> tuple[float, float] | None:
    if len(values) < 2 or (values <= 0.0).any():
        return None
    logarithms = np.log(values)
    quantile = _STUDENT[min(len(values) - 1, len(_STUDENT)) - 1]
    margin = quantile * logarithms.std(ddof=1) / math.sqrt(len(values))
    center = logarithms.mean()
    return float(np.exp(center - margin)), float(np.exp(center + margin))
