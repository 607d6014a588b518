"""The study of what is reachable at all runs, on traces that take seconds."""

from __future__ import annotations

import pytest

from stream2llm_bench.playing.scenarios import TOKEN_BUDGET, full_plan
from stream2llm_bench.studies.reachable import (
    POINTS,
    PROFILE,
    SYSTEMS,
    fluid,
    real,
    times_lower,
)
from stream2llm_profiles import load_profile

SETTINGS = real(load_profile(PROFILE))


def test_the_fluid_machine_is_as_fast_as_full_steps() -> None:
    full_s = SETTINGS.profile.prefill.step_s([(TOKEN_BUDGET, 0)])
    ideal = fluid(SETTINGS)
    steps = TOKEN_BUDGET // ideal.token_budget
    in_small_steps_s = sum(
        ideal.profile.prefill.step_s([(ideal.token_budget, number * ideal.token_budget)])
        for number in range(steps)
    )
    assert in_small_steps_s == pytest.approx(full_s)


@pytest.mark.parametrize("name", ["crawler-high", "anns-high", "crawler-pressure"])
def test_every_system_is_compared(name: str) -> None:
    (traffic,) = (one for one in full_plan().traffic if one.name == name)
    found = times_lower(traffic._replace(queries=8), 1, SETTINGS)
    assert list(found) == list(SYSTEMS)
    assert all(len(ratios) == len(POINTS) and min(ratios) > 0 for ratios in found.values())
    # With so few queries at a time nobody waits long.
    assert found["idle machine"][0] >= found["srpt"][0] * 0.99
