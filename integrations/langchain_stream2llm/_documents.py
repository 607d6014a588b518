"""LangChain documents as documents of the core, and back."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from stream2llm_rag.documents import Document as CoreDocument

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["from_core", "to_core"]


def to_core(documents: Iterable[Document]) -> tuple[CoreDocument, ...]:
    """Converts documents, each under an id of its own.

    LangChain ids are optional and may repeat. A document without one is known by its text, and a
    repeated document gets a numbered id, so that it stands in the prompt as often as in the list.
    """
    seen: Counter[str] = Counter()
    converted = []
    for document in documents:
        text = document.page_content
        identity = document.id or hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        seen[identity] += 1
        unique = identity if seen[identity] == 1 else f"{identity}#{seen[identity]}"
        converted.append(CoreDocument(id=unique, text=text, metadata=dict(document.metadata)))
    return tuple(converted)


def from_core(document: CoreDocument) -> Document:
    """Converts one document; a score becomes ``metadata["score"]``."""
    score = {} if document.score is None else {"score": document.score}
    return Document(
        id=document.id, page_content=document.text, metadata={**score, **document.metadata}
    )
