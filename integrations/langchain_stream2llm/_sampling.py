"""LangChain call options as vLLM sampling parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream2llm_engine.errors import InvalidRequestError, UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_engine import SamplingParams

__all__ = ["sampling_params"]


def sampling_params(options: Mapping[str, Any]) -> SamplingParams:
    """Builds the parameters of one request.

    Args:
        options: Fields of vLLM's ``SamplingParams``. Without ``max_tokens`` the answer may be as
            long as the model allows, where vLLM's own default is 16 tokens.

    Raises:
        InvalidRequestError: A value is wrong.
        UnsupportedFeatureError: An option is not a sampling parameter, or asks for several answers.
    """
    from stream2llm_engine import SamplingParams

    unknown = sorted(options.keys() - set(SamplingParams.__struct_fields__))
    if unknown:
        msg = f"ChatStream2LLM does not support the call options {unknown}; leave them out"
        raise UnsupportedFeatureError(msg)
    if options.get("n", 1) != 1:
        msg = "ChatStream2LLM gives one answer per call; use `batch` for several"
        raise UnsupportedFeatureError(msg)
    try:
        return SamplingParams(**{"max_tokens": None, **options})
    except Exception as error:  # vLLM's own validation error is no ValueError
        msg = f"vLLM refuses the sampling parameters {dict(options)!r}: {error}"
        raise InvalidRequestError(msg) from error
