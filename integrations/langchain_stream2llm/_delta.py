"""What a streaming retriever yields: documents that come, change and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from langchain_core.documents import Document

from stream2llm_engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DocumentDelta"]


class DocumentDelta(list[Document]):
    """A change of the retrieved documents, itself a list of documents.

    Deltas add up with ``+``, as LangChain's streamed values do, so that a step which does not know
    them gets the list that the whole retrieval returns. A document whose id is already there
    replaces that document in its place; any other goes to the end. Documents without an id are
    always new.

    A delta drops first and adds then: retracting every earlier id in the delta that brings the new
    list puts a whole new ranking in place.

    Args:
        documents: Documents to add or to replace.
        retract: Ids of earlier documents to drop.
    """

    def __init__(self, documents: Iterable[Document] = (), retract: Iterable[str] = ()) -> None:
        super().__init__(documents)
        self.retract = frozenset(retract)

    @classmethod
    def of(cls, documents: list[Document]) -> DocumentDelta:
        """Returns ``documents`` as a delta; a plain list brings new ones only."""
        return documents if isinstance(documents, DocumentDelta) else cls(documents)

    @classmethod
    def between(cls, before: Sequence[Document], after: Sequence[Document]) -> DocumentDelta:
        """Returns a delta that turns ``before`` into ``after``.

        Documents at the head of both stay; the first that is somewhere else, and what had to move
        for it, goes and comes back.

        Raises:
            InvalidRequestError: A document without an id would have to go or to move.
        """
        retract = set[str]()
        changed = list[Document]()
        position = 0
        for document in before:
            newer = after[position] if position < len(after) else None
            if newer is not None and _is_version(newer, document):
                position += 1
                if newer != document:
                    changed.append(newer)
            elif document.id:
                retract.add(document.id)
            else:
                msg = f"a document without an id cannot be retracted, give it one: {document!r}"
                raise InvalidRequestError(msg)
        return cls([*changed, *after[position:]], retract=retract)

    @property
    def changes_nothing(self) -> bool:
        """Whether it neither adds nor replaces nor drops a document."""
        return not self and not self.retract

    # Narrower than list's: a list of anything else has no ids to merge by.
    def __add__(self, other: list[Any], /) -> DocumentDelta:  # type: ignore[override]
        return _merge(self, other)

    def __iadd__(self, other: Iterable[Any], /) -> Self:  # type: ignore[override]
        merged = _merge(self, other if isinstance(other, list) else list(other))
        self[:] = merged
        self.retract = merged.retract
        return self

    def __radd__(self, other: list[Any], /) -> DocumentDelta:
        return _merge(other, self)

    def __repr__(self) -> str:
        retract = f", retract={sorted(self.retract)!r}" if self.retract else ""
        return f"DocumentDelta({super().__repr__()}{retract})"


def _is_version(document: Document, other: Document) -> bool:
    return document.id == other.id if document.id or other.id else document == other


def _merge(earlier: list[Document], later: list[Document]) -> DocumentDelta:
    retracted = _retracted(later)
    kept = [document for document in earlier if not document.id or document.id not in retracted]
    newest = {document.id: document for document in later if document.id}
    known = {document.id for document in kept if document.id}
    replaced = [newest.get(document.id, document) if document.id else document for document in kept]
    added = [document for document in later if not document.id or document.id not in known]
    return DocumentDelta([*replaced, *added], retract=_retracted(earlier) | retracted)


def _retracted(documents: list[Document]) -> frozenset[str]:
    return documents.retract if isinstance(documents, DocumentDelta) else frozenset()
