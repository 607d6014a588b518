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
        options: Fields of vLLM's ``SamplingParams``, and ``logprobs`` and ``top_logprobs`` as
            OpenAI means them. Without ``max_tokens`` the answer may be as long as the model allows,
            where vLLM's own default is 16 tokens.

    Raises:
        InvalidRequestError: A value is wrong.
        UnsupportedFeatureError: An option is not a sampling parameter.
    """
    from stream2llm_engine import SamplingParams

    values = {"max_tokens": None, **_with_logprobs(options)}
    unknown = sorted(values.keys() - set(SamplingParams.__struct_fields__))
    if unknown:
        msg = f"ChatStream2LLM does not support the call options {unknown}; leave them out"
        raise UnsupportedFeatureError(msg)
    try:
        return SamplingParams(**values)
    except Exception as error:  # vLLM's own validation error is no ValueError
        msg = f"vLLM refuses the sampling parameters {dict(options)!r}: {error}"
        raise InvalidRequestError(msg) from error


def _with_logprobs(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turns OpenAI's switch and number into vLLM's number, which may be given as it is, too."""
    values = dict(options)
    top = values.pop("top_logprobs", None)
    wanted = values.get("logprobs", top is not None)
    if isinstance(wanted, bool):
        values["logprobs"] = (top or 0) if wanted else None
    return values
