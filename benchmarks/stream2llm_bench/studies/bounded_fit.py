"""Least squares with lower bounds, for a few parameters and a nearly linear model."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fit"]

_Vector: TypeAlias = NDArray[np.float64]
_ROUNDING = 1e-12


def fit(
    predict: Callable[[_Vector], _Vector],
    targets: _Vector,
    *,
    start: _Vector,
    lower: _Vector,
    steps: _Vector,
    iterations: int = 2,
) -> _Vector:
    """Return the parameters that minimise the squared relative errors of the prediction.

    Args:
        predict: The model; called once for every parameter and once more in each iteration.
        targets: What it should predict.
        start: First guess, within the bounds.
        lower: Smallest parameters allowed.
        steps: How far each parameter is moved to see what it does.
        iterations: Linearisations; a linear model needs one.
    """
    current = start
    for _ in range(iterations):
        errors = predict(current) / targets - 1.0
        slopes = [
            (predict(current + moved) / targets - 1.0 - errors) / moved.sum()
            for moved in np.diag(steps)
        ]
        current = _minimum(np.column_stack(slopes), errors, current, lower)
    return current


def _minimum(jacobian: _Vector, errors: _Vector, current: _Vector, lower: _Vector) -> _Vector:
    """Return the bounded minimum of the linearised model.

    The minimum lies at the unbounded one of some set of free parameters, the others being at their
    bounds; with so few parameters every set can be tried.
    """
    scale = np.abs(jacobian).max(axis=0)
    scaled = jacobian / scale
    best, best_cost = current, np.inf
    for free in product((True, False), repeat=len(current)):
        mask = np.asarray(free)
        moves = np.where(mask, 0.0, lower - current) * scale
        if mask.any():
            rest = -(errors + scaled @ moves)
            moves[mask] = np.linalg.lstsq(scaled[:, mask], rest, rcond=None)[0]
        candidate = current + moves / scale
        cost = float(np.sum((errors + scaled @ moves) ** 2))
        if np.all(candidate >= lower - _ROUNDING) and cost < best_cost:
            best, best_cost = np.maximum(candidate, lower), cost
    return best
