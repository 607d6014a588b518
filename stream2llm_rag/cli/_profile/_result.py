"""Measurements as a profile."""

from statistics import median

from stream2llm_profiles import HardwareProfile
from stream2llm_rag.cli._profile._fit import StepFit, copy_errors, fit_copies
from stream2llm_rag.cli._profile._machine import hardware, versions
from stream2llm_rag.cli._profile._measure import Measured

__all__ = ["make_profile"]


def make_profile(
    name: str, model: str, command: str, measured: Measured, fit: StepFit
) -> HardwareProfile:
    """Puts the fits, the raw figures and how they came about together.

    Args:
        name: Name of the profile.
        model: What the model is.
        command: The command that measured.
        measured: What it measured.
        fit: The fit to the engine steps.
    """
    swap = fit_copies(measured.copies, measured.block_tokens)
    errors = [fit.error(timing) for timing in measured.steps] + copy_errors(swap, measured.copies)
    return HardwareProfile(
        name=name,
        source="measured",
        method=_method(command, measured),
        hardware=hardware(),
        model=f"{model}, {measured.dtype}",
        tensor_parallel=1,
        request_overhead_s=fit.request_overhead_s,
        kv_bytes_per_token=measured.token_bytes,
        kv_pool_tokens=measured.pool_tokens,
        prefill=fit.cost,
        swap=swap,
        versions=versions(),
        samples=[
            *(timing.sample() for timing in measured.steps),
            *(timing.sample() for timing in measured.copies),
        ],
        fit_error=median(map(abs, errors)),
    )


def _method(command: str, measured: Measured) -> str:
    settings = measured.settings
    mode = "eager" if measured.eager else "compiled"
    return (
        f"Measured by `{command}` on {hardware()}: requests alone on an in-process engine ({mode},"
        f" max_num_batched_tokens {settings.token_budget}, block size {measured.block_tokens},"
        " prefix caching off), random tokens. Samples with requests = 1 run from sending the last"
        " tokens to the first token of the answer; those with requests = 0 are steps in the middle"
        f" of an answer. Each is the {settings.statistic} of {settings.repeats}, min_s and"
        " max_s the extremes. KV copies: scattered blocks to consecutive host blocks and"
        f" back, the {settings.statistic} of {settings.copies}."
        " All costs are fitted by non-negative least squares of relative errors."
    )
