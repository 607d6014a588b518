"""vLLM's sampling parameters, re-exported so that no caller has to import vLLM."""

from vllm import SamplingParams

__all__ = ["SamplingParams"]
