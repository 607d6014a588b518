"""LlamaIndex call options as vLLM sampling parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import LogProb

from stream2llm_engine.errors import InvalidRequestError, UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_engine import SamplingParams, StreamOutput

__all__ = ["log_probs", "sampling_params"]


def sampling_params(options: Mapping[str, Any]) -> SamplingParams:
    """Builds the parameters of one answer.

    Raises:
        InvalidRequestError: vLLM refuses a value.
        UnsupportedFeatureError: An option is not a field of ``SamplingParams``, or asks for several
            answers.
    """
    from stream2llm_engine import SamplingParams

    unknown = sorted(set(options) - set(SamplingParams.__struct_fields__))
    if unknown:
        msg = f"Stream2LLM does not know the options {unknown}: pass fields of SamplingParams only"
        raise UnsupportedFeatureError(msg)
    if options.get("n", 1) != 1:
        msg = "Stream2LLM gives one answer a call: ask again for another one"
        raise UnsupportedFeatureError(msg)
    try:
        return SamplingParams(**options)
    except Exception as error:  # vLLM raises several kinds, not all of them ValueError
        msg = f"vLLM refuses the sampling options {dict(options)!r}: {error}"
        raise InvalidRequestError(msg) from error


def log_probs(output: StreamOutput) -> list[list[LogProb]]:
    """Returns the tokens that were likely at each place of a delta, the one taken there first."""
    return [
        [_log_prob(candidate) for candidate in candidates.values()]
        for candidates in output.logprobs or ()
    ]


def _log_prob(candidate: Any) -> LogProb:
    token = candidate.decoded_token or ""
    return LogProb(token=token, logprob=candidate.logprob, bytes=list(token.encode()))
