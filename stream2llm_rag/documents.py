"""The retrieved document, the unit every context event and every prompt is made of."""

import hashlib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Document"]


class Document(BaseModel):
    """A retrieved piece of text.

    Attributes:
        id: Identity across events. Two documents with one id are the same document, perhaps in two
            versions.
        text: What the model reads.
        score: The retriever's own score, if it gives one. Never used for ordering here.
        metadata: Anything else; available to document templates as ``{metadata[key]}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    score: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_text(cls, text: str, **metadata: Any) -> Self:
        """Makes a document whose id follows from its text, for retrievers that return strings."""
        digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        return cls(id=digest, text=text, metadata=metadata)
