"""The costs of one model on one machine."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from stream2llm_profiles._costs import PrefillCost, SwapCost

__all__ = ["HardwareProfile"]


class HardwareProfile(BaseModel):
    """What a scheduler or a simulation has to know about the hardware.

    Attributes:
        name: Name of the profile; a shipped one has it as its file name.
        source: ``"measured"`` on the hardware, or ``"analytic"``: derived from data sheets.
        method: How the numbers were obtained.
        hardware: The machine.
        model: The model, with its number format.
        tensor_parallel: GPUs that share every layer.
        request_overhead_s: Seconds between the last event of a request and its first token that
            are not spent in engine steps: tokenizer, inter-process messages, sampling. It delays
            the request and occupies nothing.
        kv_bytes_per_token: KV cache of one token over all layers and GPUs.
        kv_pool_tokens: Tokens of KV that the pool holds in the setting of ``method``.
        prefill: Latency of engine steps.
        swap: Latency of KV copies to and from host memory; None: not known.
        versions: Versions of the software that was measured.
        samples: Raw measurements; empty in an analytic profile.
        fit_error: Median relative error of the fit to ``samples``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    source: Literal["analytic", "measured"]
    method: str = Field(min_length=1)
    hardware: str
    model: str
    tensor_parallel: int = Field(ge=1)
    request_overhead_s: float = Field(ge=0)
    kv_bytes_per_token: int = Field(ge=1)
    kv_pool_tokens: int = Field(ge=1)
    prefill: PrefillCost
    swap: SwapCost | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    samples: list[dict[str, float]] = Field(default_factory=list)
    fit_error: float | None = Field(default=None, ge=0)
