"""Where documents stand in the prompt."""

from collections.abc import Hashable, Iterable
from typing import Literal, TypeAlias, TypeVar, assert_never

from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update, ranked_after

__all__ = ["DocumentOrder", "ordered_after", "prompt_order"]

DocumentOrder: TypeAlias = Literal["stable", "rank"]
_Id = TypeVar("_Id", bound=Hashable)


def ordered_after(
    documents: tuple[Document, ...], event: Append | Update, order: DocumentOrder
) -> tuple[Document, ...]:
    """Returns the prompt order that ``event`` turns ``documents`` into."""
    ranked = (
        ranked_after((), event) if isinstance(event, Update) else ranked_after(documents, event)
    )
    newest = {document.id: document for document in ranked}
    before = (document.id for document in documents)
    return tuple(newest[name] for name in prompt_order(before, newest, order))


def prompt_order(before: Iterable[_Id], ranked: Iterable[_Id], order: DocumentOrder) -> list[_Id]:
    """Returns the order of the documents in the prompt, each once.

    ``"stable"`` keeps survivors where they are, drops the retracted and puts newcomers behind, so
    that an update invalidates computed KV from the first dropped document on. ``"rank"`` follows
    the retriever.

    Args:
        before: Ids in the prompt so far, in prompt order.
        ranked: Ids that the retriever now gives, best first.
        order: Which of the two.
    """
    newest = dict.fromkeys(ranked)
    match order:
        case "rank":
            return list(newest)
        case "stable":
            survivors = [name for name in before if name in newest]
            return list(dict.fromkeys((*survivors, *newest)))
        case _:
            assert_never(order)
