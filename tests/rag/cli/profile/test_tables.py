"""A doubtful profile is called one."""

import io

import pytest
from rich.console import Console

from stream2llm_rag.cli._profile._fit import fit_steps
from stream2llm_rag.cli._profile._measure import Measured
from stream2llm_rag.cli._profile._result import make_profile
from stream2llm_rag.cli._profile._settings import ProfileSettings
from stream2llm_rag.cli._profile._tables import print_profile
from stream2llm_rag.cli._profile._timings import CopyTiming, StepTiming


@pytest.mark.parametrize(("error", "poor"), [(0.1, False), (0.3, True)])
def test_a_poor_fit(error: float, *, poor: bool) -> None:
    steps = [
        StepTiming(tokens, context, 1, True, (tokens * 1e-3,))
        for tokens in (32, 512)
        for context in (0, 512)
    ]
    measured = Measured(
        steps=steps,
        copies=[CopyTiming(1, (1e-5,), (1e-5,))],
        settings=ProfileSettings(),
        block_tokens=32,
        pool_tokens=1000,
        token_bytes=4096,
        dtype="bfloat16",
        eager=True,
    )
    fit = fit_steps(steps)
    profile = make_profile("p", "m", "stream2llm profile", measured, fit)
    assert profile.fit_error == pytest.approx(0.0)
    profile = profile.model_copy(update={"fit_error": error})
    output = io.StringIO()
    print_profile(Console(file=output, width=200), profile, measured, fit)
    assert ("The fit is poor" in output.getvalue()) is poor
