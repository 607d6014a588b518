"""Where documents stand in the prompt."""

from typing import Literal, TypeAlias, assert_never

from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update, ranked_after

__all__ = ["DocumentOrder", "ordered_after"]

DocumentOrder: TypeAlias = Literal["stable", "rank"]


def ordered_after(
    documents: tuple[Document, ...], event: Append | Update, order: DocumentOrder
) -> tuple[Document, ...]:
    """Returns the prompt order that ``event`` turns ``documents`` into.

    ``"stable"`` keeps survivors where they are, drops the retracted and puts newcomers behind, so
    that an update invalidates computed KV from the first dropped document on. ``"rank"`` follows
    the retriever.
    """
    ranked = (
        ranked_after((), event) if isinstance(event, Update) else ranked_after(documents, event)
    )
    match order:
        case "rank":
            return ranked
        case "stable":
            newest = {document.id: document for document in ranked}
            survivors = [newest.pop(document.id) for document in documents if document.id in newest]
            return (*survivors, *newest.values())
        case _:
            assert_never(order)
