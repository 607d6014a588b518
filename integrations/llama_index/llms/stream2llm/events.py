"""Instrumentation events of streamed retrieval, beside those of LlamaIndex itself."""

from llama_index.core.instrumentation.events import BaseEvent

__all__ = ["ContextAppendEvent", "ContextUpdateEvent"]


class ContextAppendEvent(BaseEvent):
    """A retriever delivered nodes and goes on searching.

    Attributes:
        node_ids: Ids of the new nodes, in their order.
    """

    node_ids: list[str]

    @classmethod
    def class_name(cls) -> str:
        """Returns the name under which handlers see the event."""
        return "ContextAppendEvent"


class ContextUpdateEvent(BaseEvent):
    """A retriever or a postprocessor ranked anew: this is the whole list now.

    Attributes:
        node_ids: Ids of all nodes, best first.
        retracted: Ids of those that were there before and are no more.
    """

    node_ids: list[str]
    retracted: list[str]

    @classmethod
    def class_name(cls) -> str:
        """Returns the name under which handlers see the event."""
        return "ContextUpdateEvent"
