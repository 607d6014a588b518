"""Instrumentation events of streamed retrieval, beside those of LlamaIndex itself."""

from llama_index.core.instrumentation.events import BaseEvent

__all__ = ["ContextAppendEvent"]


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
