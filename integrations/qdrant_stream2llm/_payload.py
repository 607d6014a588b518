"""Documents as Qdrant points and back."""

import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from stream2llm_rag import ContextSourceError, Document

__all__ = [
    "PayloadKeys",
    "PayloadReader",
    "document_payload",
    "point_id",
]

_NAMESPACE = uuid.UUID("8f0f5f4e-6c3e-5d0a-9d0a-7c6f7e0a2b11")


class PayloadReader(Protocol):
    """Makes documents of points."""

    def document(
        self, point: str, payload: Mapping[str, Any] | None, score: float | None
    ) -> Document:
        """Makes a document of a point.

        Raises:
            ContextSourceError: The payload has no text.
        """
        ...


class PayloadKeys(BaseModel):
    """Where a point's payload holds what a document needs.

    The defaults are what ``EdgeSource`` writes; ``PayloadKeys(text="page_content")`` reads the
    collections of LangChain's Qdrant store.

    Attributes:
        text: Key of the text, which every point must have.
        id: Key of the document's id; a point without it is known by its point id.
        metadata: Key of the metadata. A point without it has the rest of its payload as metadata.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = "text"
    id: str = "id"
    metadata: str = "metadata"

    def document(
        self, point: str, payload: Mapping[str, Any] | None, score: float | None
    ) -> Document:
        """Makes a document of a point.

        Raises:
            ContextSourceError: The payload has no text.
        """
        values = dict(payload or {})
        text = values.pop(self.text, None)
        if not isinstance(text, str):
            msg = (
                f"point {point} has no text under {self.text!r}; its payload keys are"
                f" {sorted(values)}, pass payload_keys=PayloadKeys(text=...)"
            )
            raise ContextSourceError(msg)
        key = values.pop(self.id, point)
        metadata = values.pop(self.metadata, None)
        if not isinstance(metadata, dict):
            metadata = values
        return Document(id=str(key), text=text, score=score, metadata=metadata)


def document_payload(document: Document) -> dict[str, Any]:
    """Returns the payload that ``PayloadKeys()`` reads."""
    return {"id": document.id, "text": document.text, "metadata": document.metadata}


def point_id(document: Document) -> uuid.UUID:
    """Returns the point id that belongs to a document's id."""
    return uuid.uuid5(_NAMESPACE, document.id)
