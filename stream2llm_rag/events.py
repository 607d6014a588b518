"""Context events: how the set of retrieved documents changes while retrieval is running.

The union is closed. Two rules make every event sequence well defined:

* An ``Append`` never changes what is already there: a document whose id is present is ignored, also
  within one event (the first one wins). Two retrievers that find the same document therefore do not
  repeat it. A new text for a known id takes an ``Update``.
* An ``Update`` is the full new ranked list; a repeated id keeps its first, best ranked place. An
  empty ``Append`` changes nothing, an empty ``Update`` empties the context.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias, assert_never

from pydantic import BaseModel, ConfigDict, Field

from stream2llm_rag.documents import Document

__all__ = ["Append", "ContextEvent", "Update", "ranked_after"]


class Append(BaseModel):
    """New documents, behind those already there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["append"] = "append"
    documents: tuple[Document, ...]


class Update(BaseModel):
    """The full new ranked list; documents it leaves out are retracted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["update"] = "update"
    documents: tuple[Document, ...]


ContextEvent: TypeAlias = Annotated[Append | Update, Field(discriminator="kind")]


def ranked_after(documents: tuple[Document, ...], event: Append | Update) -> tuple[Document, ...]:
    """Returns the ranked list that ``event`` turns ``documents`` into."""
    match event:
        case Append():
            return _unique((*documents, *event.documents))
        case Update():
            return _unique(event.documents)
        case _:
            assert_never(event)


def _unique(documents: Iterable[Document]) -> tuple[Document, ...]:
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document.id, document)
    return tuple(first.values())
