"""Turning what retrievers return into context events."""

from collections.abc import Sequence
from typing import Any

from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update

__all__ = ["as_document", "as_event"]


def as_event(item: Any) -> Append | Update:
    """Returns ``item`` as an event: documents, strings and lists of them become an ``Append``.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(item, Append | Update):
        return item
    if isinstance(item, Sequence) and not isinstance(item, str | bytes):
        return Append(documents=tuple(as_document(part) for part in item))
    return Append(documents=(as_document(item),))


def as_document(item: Any) -> Document:
    """Returns ``item`` as a document; a string gets an id that follows from its text.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(item, Document):
        return item
    if isinstance(item, str):
        return Document.from_text(item)
    msg = f"expected a Document, a str, a list of them or a context event, got {type(item)!r}"
    raise TypeError(msg)
