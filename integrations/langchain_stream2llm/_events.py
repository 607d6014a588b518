"""What a retriever yields, as context events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_stream2llm._delta import DocumentDelta
from langchain_stream2llm._documents import to_core
from stream2llm_rag.sources import event_between

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from stream2llm_rag.documents import Document as CoreDocument
    from stream2llm_rag.events import Append, Update

__all__ = ["EventLog"]


class EventLog:
    """The documents of one retrieval, and the event that each change of them is.

    Attributes:
        documents: What was retrieved so far, as the retriever gave it.
    """

    def __init__(self) -> None:
        self.documents = DocumentDelta()
        self._known: tuple[CoreDocument, ...] = ()

    def take(self, delta: list[Document]) -> Append | Update | None:
        """Takes a change in; growth at the end is an append, anything else an update."""
        before = self._known
        self.documents += delta
        self._known = to_core(self.documents)
        return event_between(before, self._known)
