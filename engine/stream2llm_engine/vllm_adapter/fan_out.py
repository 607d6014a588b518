"""Several answers to one prompt (``n > 1``)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from stream2llm_engine.vllm_adapter.host import Consumer

if TYPE_CHECKING:
    from stream2llm_engine.channel import OutputChannel

__all__ = ["family_ids", "fan_out"]

_FAMILY = "-answers"


def fan_out(request: Any, channel: OutputChannel) -> list[Consumer]:
    """Return one consumer for each of the ``n`` answers; the first keeps the request's id.

    The first is the session's own request. The others are ordinary requests for the same prompt,
    which find its KV in the prefix cache.

    Args:
        request: vLLM's request for the complete prompt.
        channel: Where the outputs of all of them go.
    """
    from vllm.v1.engine.parallel_sampling import ParentRequest

    count = request.sampling_params.n
    if count == 1:
        return [Consumer(request, channel)]
    family = copy.copy(request)
    family.request_id = request.request_id + _FAMILY
    parent = ParentRequest(family)
    consumers = []
    for index in range(count):
        child = copy.copy(request)
        child_id, child.sampling_params = parent.get_child_info(index)
        if index == 0:
            parent.child_requests.remove(child_id)
            parent.child_requests.add(request.request_id)
        else:
            child.request_id = child_id
            child.prompt_token_ids = request.prompt_token_ids.copy()
        consumers.append(Consumer(child, channel, parent, index))
    return consumers


def family_ids(request_id: str) -> list[str]:
    """Return the ids under which vLLM's output processor knows a request and its siblings."""
    return [request_id, request_id + _FAMILY]
