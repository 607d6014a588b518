"""The fit finds the costs that made the measurements."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream2llm_profiles import PrefillCost, SwapCost
from stream2llm_rag.cli._profile._fit import (
    StepFit,
    copy_errors,
    fit_copies,
    fit_steps,
    non_negative,
)
from stream2llm_rag.cli._profile._settings import ProfileSettings
from stream2llm_rag.cli._profile._timings import CopyTiming, StepTiming

TRUE = StepFit(0.004, PrefillCost(step_overhead_s=0.01, token_s=2e-4, token_context_s=3e-8))


def timings(noise: float = 0.0) -> list[StepTiming]:
    grid = ProfileSettings()
    draw = random.Random(1)

    def timed(tokens: int, context: int, steps: int, *, whole: bool) -> StepTiming:
        empty = StepTiming(tokens, context, steps, whole, ())
        seconds = TRUE.seconds(empty)
        return empty._replace(
            seconds=tuple(seconds * (1 + noise * draw.uniform(-1, 1)) for _ in range(7))
        )

    prefills = [
        timed(tokens, context, grid.steps(tokens), whole=True)
        for tokens, context in grid.points(10_000)
    ]
    return prefills + [timed(1, context, 1, whole=False) for context in (24, 520, 6152)]


def test_costs_are_recovered() -> None:
    fit = fit_steps(timings())
    assert fit.request_overhead_s == pytest.approx(TRUE.request_overhead_s)
    assert fit.cost.model_dump() == pytest.approx(TRUE.cost.model_dump())
    assert all(abs(fit.error(timing)) < 1e-9 for timing in timings())


def test_costs_are_recovered_from_noisy_times() -> None:
    fit = fit_steps(timings(noise=0.3))
    assert fit.cost.token_s == pytest.approx(TRUE.cost.token_s, rel=0.1)
    assert fit.cost.token_context_s == pytest.approx(TRUE.cost.token_context_s, rel=0.3)
    assert fit.cost.step_overhead_s == pytest.approx(TRUE.cost.step_overhead_s, rel=0.3)


def test_the_fit_agrees_with_what_a_profile_computes() -> None:
    fit = fit_steps(timings())
    prefill = StepTiming(4096, 512, 2, True, (1.0,))
    assert fit.seconds(prefill) == pytest.approx(
        fit.request_overhead_s + fit.cost.prefill_s(4096, 512, chunk_tokens=2048)
    )
    step = StepTiming(1, 512, 1, False, (1.0,))
    assert fit.seconds(step) == pytest.approx(fit.cost.step_s([(1, 512)]))


def test_a_token_never_costs_nothing() -> None:
    flat = [timing._replace(seconds=(1.0 / timing.tokens,)) for timing in timings()]
    assert fit_steps(flat).cost.token_s > 0


def test_the_lowest_time_can_stand_for_the_measurements() -> None:
    disturbed = [
        timing._replace(
            seconds=(*timing.seconds[:1], *(5 * each for each in timing.seconds[1:])),
            statistic="lowest",
        )
        for timing in timings()
    ]
    assert fit_steps(disturbed).cost.token_s == pytest.approx(TRUE.cost.token_s)
    copy = CopyTiming(1, (3.0, 1.0, 2.0), (6.0, 4.0, 5.0))
    assert copy.sample() == {"blocks": 1, "out_s": 2.0, "in_s": 5.0}
    assert copy._replace(statistic="lowest").sample() == {"blocks": 1, "out_s": 1.0, "in_s": 4.0}


def test_copies_are_recovered() -> None:
    true = SwapCost(fixed_s=1e-4, block_out_s=3e-5, block_in_s=2e-5, block_tokens=32)
    measured = [
        CopyTiming(blocks, (true.out_s(blocks),) * 3, (true.in_s(blocks),) * 3)
        for blocks in (1, 4, 64)
    ]
    assert fit_copies(measured, 32).model_dump() == pytest.approx(true.model_dump())
    assert max(map(abs, copy_errors(true, measured))) < 1e-9


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0.1, 10), min_size=4, max_size=4), min_size=4, max_size=8))
def test_non_negative_least_squares_is_optimal(rows: list[list[float]]) -> None:
    seconds = [row.pop() for row in rows]
    found = non_negative(rows, seconds)
    matrix = np.array(rows) / np.array(seconds)[:, None]
    gradient = matrix.T @ (matrix @ np.array(found) - 1)
    # Karush, Kuhn and Tucker: no step to the allowed side lowers the loss.
    tolerance = 1e-6 * (1 + np.abs(matrix).max() ** 2)
    for coefficient, slope in zip(found, gradient, strict=True):
        assert coefficient >= 0
        assert slope >= -tolerance
        assert coefficient == 0 or abs(slope) <= tolerance
