"""Log-probabilities as other chat models report them, in OpenAI's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream2llm_engine import StreamOutput

__all__ = ["logprobs_metadata"]


def logprobs_metadata(output: StreamOutput, *, top: int) -> dict[str, Any]:
    """Returns ``{"content": [...]}`` with one entry for each token that ``output`` adds.

    Args:
        output: A delta of the engine; it has log-probabilities.
        top: How many of the likeliest tokens to list at each place; -1 lists all that there are.
    """
    return {
        "content": [
            {
                **_entry(candidates[token_id]),
                "top_logprobs": [
                    _entry(candidate)
                    for candidate in sorted(candidates.values(), key=lambda one: one.rank)
                    if top < 0 or candidate.rank <= top
                ],
            }
            for token_id, candidates in zip(output.token_ids, output.logprobs or (), strict=True)
        ]
    }


def _entry(candidate: Any) -> dict[str, Any]:
    token = candidate.decoded_token or ""
    return {
        "token": token,
        "bytes": list(token.encode()),
        "logprob": candidate.logprob,
    }
