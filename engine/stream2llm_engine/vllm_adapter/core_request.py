"""vLLM's engine-core request as the carrier of an operation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream2llm_engine.wire import Operation

__all__ = ["PLACEHOLDER", "operation_request"]

# vLLM takes no empty prompt; the scheduler ignores this one when `Operation.empty` is set.
PLACEHOLDER = (0,)


def operation_request(
    request_id: str,
    operation: Operation,
    token_ids: list[int],
    *,
    lora: Any = None,
    cache_salt: str | None = None,
    rank: int | None = None,
) -> Any:
    """Return the ``EngineCoreRequest`` that carries an operation.

    Args:
        request_id: The session's id, or that of a question.
        operation: What to do.
        token_ids: What it brings.
        lora: vLLM's LoRA request.
        cache_salt: Only requests with the same one share cached prefixes.
        rank: Data-parallel rank to send it to; ``None``: vLLM's choice, which is the same one for
            every operation of a session.
    """
    from vllm import SamplingParams
    from vllm.v1.engine import EngineCoreRequest

    return EngineCoreRequest(
        request_id=request_id,
        prompt_token_ids=token_ids.copy() or list(PLACEHOLDER),
        mm_features=None,
        sampling_params=SamplingParams(max_tokens=1, extra_args=operation.encode()),
        pooling_params=None,
        arrival_time=time.time(),
        lora_request=lora,
        cache_salt=cache_salt,
        data_parallel_rank=rank,
    )
