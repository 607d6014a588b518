"""Costs that explain the measurements best."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream2llm_profiles import PrefillCost, SwapCost
from stream2llm_rag.cli._profile._timings import CopyTiming, StepTiming

__all__ = ["StepFit", "copy_errors", "fit_copies", "fit_steps", "non_negative"]

_Matrix = npt.NDArray[np.float64]
_TOKEN = 2


class StepFit(NamedTuple):
    """The fitted costs of engine steps and of what a request costs besides."""

    request_overhead_s: float
    cost: PrefillCost

    def seconds(self, timing: StepTiming) -> float:
        """What the fit says about a measurement."""
        pairs = timing.tokens * (timing.context + timing.tokens / 2)
        return (
            timing.whole_request * self.request_overhead_s
            + timing.steps * self.cost.step_overhead_s
            + timing.tokens * self.cost.token_s
            + pairs * self.cost.token_context_s
        )

    def error(self, timing: StepTiming) -> float:
        """The fit's error, relative to the measurement."""
        return self.seconds(timing) / timing.typical_s - 1.0


def fit_steps(timings: Sequence[StepTiming]) -> StepFit:
    """Fits the costs to what stands for the measurements; relative errors count alike."""
    rows = [
        [
            timing.whole_request,
            timing.steps,
            timing.tokens,
            timing.tokens * (timing.context + timing.tokens / 2),
        ]
        for timing in timings
    ]
    # A token that costs nothing would make any number of them fit into a step.
    found = non_negative(rows, [timing.typical_s for timing in timings], positive=_TOKEN)
    request_s, step_s, token_s, pair_s = found
    return StepFit(
        request_s,
        PrefillCost(step_overhead_s=step_s, token_s=token_s, token_context_s=pair_s),
    )


def fit_copies(timings: Sequence[CopyTiming], block_tokens: int) -> SwapCost:
    """Fits the costs of KV copies; both directions share what a copy costs whatever its size."""
    rows, seconds = [], []
    for timing in timings:
        rows += [[1, timing.blocks, 0], [1, 0, timing.blocks]]
        seconds += [timing.typical_out_s, timing.typical_in_s]
    fixed_s, out_s, in_s = non_negative(rows, seconds)
    return SwapCost(fixed_s=fixed_s, block_out_s=out_s, block_in_s=in_s, block_tokens=block_tokens)


def copy_errors(cost: SwapCost, timings: Sequence[CopyTiming]) -> list[float]:
    """The errors of a fit, relative to the measurements."""
    errors = []
    for timing in timings:
        errors.append(cost.out_s(timing.blocks) / timing.typical_out_s - 1.0)
        errors.append(cost.in_s(timing.blocks) / timing.typical_in_s - 1.0)
    return errors


def non_negative(
    rows: Sequence[Sequence[float]], seconds: Sequence[float], *, positive: int | None = None
) -> list[float]:
    """Least squares of relative errors over coefficients that are not negative.

    The best solution has some coefficients at zero and is the free optimum of the others, so every
    choice of these is tried: there are few.

    Args:
        rows: What each measurement holds of each cost.
        seconds: The measurements.
        positive: A coefficient that has to be above zero; one of a cost that every measurement
            holds.
    """
    matrix: _Matrix = np.asarray(rows, dtype=float) / np.asarray(seconds, dtype=float)[:, None]
    scale = np.maximum(np.abs(matrix).max(axis=0), np.finfo(float).tiny)
    matrix = matrix / scale
    target = np.ones(len(matrix))
    columns = matrix.shape[1]
    best = np.zeros(columns)
    lowest = float("inf")
    for count in range(1, columns + 1):
        for chosen in combinations(range(columns), count):
            if positive is not None and positive not in chosen:
                continue
            solution = np.zeros(columns)
            solution[list(chosen)] = np.linalg.lstsq(matrix[:, chosen], target)[0]
            loss = float(((matrix @ solution - target) ** 2).sum())
            allowed = (solution >= 0).all() and (positive is None or solution[positive] > 0)
            if loss < lowest and allowed:
                best, lowest = solution, loss
    return [float(value) for value in best / scale]
