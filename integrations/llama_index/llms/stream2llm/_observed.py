"""What observers hear of a query beside the events of retriever and model."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.synthesis import (
    SynthesizeEndEvent,
    SynthesizeStartEvent,
)
from llama_index_instrumentation import get_dispatcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llama_index.core.base.response.schema import RESPONSE_TYPE
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.schema import QueryBundle

__all__ = ["observed_query", "observed_synthesis"]

dispatcher = get_dispatcher(__name__)


@contextmanager
def observed_query(
    manager: CallbackManager, query_bundle: QueryBundle
) -> Iterator[list[RESPONSE_TYPE]]:
    """Tells observers about a query; the block adds its response to the list."""
    asked: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
    with manager.event(CBEventType.QUERY, payload=asked) as query:
        with observed_synthesis(manager, query_bundle) as responses:
            yield responses
        query.on_end(payload={EventPayload.RESPONSE: responses[0]})


@contextmanager
def observed_synthesis(
    manager: CallbackManager, query_bundle: QueryBundle
) -> Iterator[list[RESPONSE_TYPE]]:
    """Tells observers about an answer; the block adds it to the list."""
    asked: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
    responses: list[RESPONSE_TYPE] = []
    with manager.event(CBEventType.SYNTHESIZE, payload=asked) as synthesis:
        dispatcher.event(SynthesizeStartEvent(query=query_bundle))
        yield responses
        (response,) = responses
        dispatcher.event(SynthesizeEndEvent(query=query_bundle, response=response))
        synthesis.on_end(payload={EventPayload.RESPONSE: response})
