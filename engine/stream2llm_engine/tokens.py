"""Token arithmetic on the event path, vectorised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stream2llm_engine.errors import InvalidRequestError, PromptTooLongError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["common_prefix_length", "refuse_too_long", "validated_token_ids"]


def common_prefix_length(old: Sequence[int], new: Sequence[int]) -> int:
    """Return the length of the longest common prefix of two token sequences, in tokens."""
    length = min(len(old), len(new))
    if length == 0:
        return 0
    # Most updates share their whole head, and comparing lists runs in C.
    head_old, head_new = list(old[:length]), list(new[:length])
    if head_old == head_new:
        return length
    differs = np.asarray(head_old, dtype=np.int64) != np.asarray(head_new, dtype=np.int64)
    return int(differs.argmax())


def refuse_too_long(tokens: int, limit: int) -> None:
    """Refuse a session's prompt that can never fit.

    Raises:
        PromptTooLongError: ``tokens`` are more than ``limit``.
    """
    if tokens > limit:
        msg = (
            f"the prompt would have {tokens} tokens, the engine takes at most {limit} "
            "(model length and KV pool, one token kept for the answer; or max_session_tokens): "
            "send fewer documents, or raise the limit"
        )
        raise PromptTooLongError(msg)


def validated_token_ids(token_ids: Sequence[int], vocab_size: int) -> list[int]:
    """Return a private list of the given ids.

    vLLM extends lists it is handed, so the caller's must never reach it.

    Args:
        token_ids: Token ids, any sequence of integers.
        vocab_size: Ids must be in ``[0, vocab_size)``; one id outside it kills the forward pass of
            every request in the batch.

    Raises:
        InvalidRequestError: An entry is not an integer or is outside the vocabulary.
    """
    try:
        array = np.asarray(token_ids)
    except (TypeError, ValueError) as error:
        msg = f"token_ids must be a flat sequence of integers: {error}"
        raise InvalidRequestError(msg) from error
    if array.size == 0 and array.ndim <= 1:
        return []
    if array.ndim != 1 or array.dtype.kind not in "iu":
        msg = (
            "token_ids must be a flat sequence of integers, "
            f"got shape {array.shape} of {array.dtype}; tokenize text with engine.tokenizer first"
        )
        raise InvalidRequestError(msg)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= vocab_size:
        msg = (
            f"token id {low if low < 0 else high} is outside the vocabulary [0, {vocab_size}); "
            "was the prompt tokenized with another model's tokenizer?"
        )
        raise InvalidRequestError(msg)
    ids: list[int] = array.tolist()
    return ids
