"""Hardware cost profiles: measured and analytic latencies of prefill and KV transfer."""

from stream2llm_profiles._costs import PrefillCost, SwapCost
from stream2llm_profiles._files import (
    ProfileFileError,
    load_profile,
    profile_names,
    save_profile,
)
from stream2llm_profiles._profile import HardwareProfile

__all__ = [
    "HardwareProfile",
    "PrefillCost",
    "ProfileFileError",
    "SwapCost",
    "load_profile",
    "profile_names",
    "save_profile",
]
