"""Writes fitted costs into the shipped profiles, and what follows from them into the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import stream2llm_profiles
from stream2llm_profiles import HardwareProfile, PrefillCost, load_profile, save_profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_bench.studies.published import Hardware

__all__ = ["write_profiles"]

_SLOW_GPU_FACTOR = 8


def write_profiles(
    fitted: Mapping[Hardware, HardwareProfile], directory: Path | None = None
) -> list[Path]:
    """Write the fitted profiles and the hypothetical ones that are defined by H100's.

    Args:
        fitted: Profiles with fitted costs.
        directory: Where profiles go; ``None``: where the shipped ones are.

    Returns:
        The files written.
    """
    directory = directory or Path(stream2llm_profiles.__file__).parent
    profiles = [_rounded(profile, profile) for profile in fitted.values()]
    h100 = _rounded(fitted["H100"], fitted["H100"])
    pcie = load_profile("slow-pcie-llama-3.1-8b")
    pcie = pcie.model_copy(update={"kv_pool_tokens": h100.kv_pool_tokens})
    profiles.append(_rounded(h100, pcie))
    profiles.append(_rounded(h100, load_profile("slow-gpu-llama-3.1-8b"), factor=_SLOW_GPU_FACTOR))
    paths = [directory / f"{profile.name}.json" for profile in profiles]
    for profile, path in zip(profiles, paths, strict=True):
        save_profile(profile, path)
    return paths


def _rounded(costs: HardwareProfile, into: HardwareProfile, factor: int = 1) -> HardwareProfile:
    """Return ``into`` with the costs of another profile, to four digits."""
    prefill = costs.prefill
    update = {
        "request_overhead_s": _digits(costs.request_overhead_s),
        "prefill": PrefillCost(
            step_overhead_s=_digits(factor * prefill.step_overhead_s),
            token_s=_digits(factor * prefill.token_s),
            token_context_s=_digits(factor * prefill.token_context_s),
        ),
    }
    return into.model_copy(update=update)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
