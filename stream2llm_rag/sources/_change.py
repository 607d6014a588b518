"""Arithmetic of context events: what leads from one list to another, and two events as one."""

from typing import assert_never

from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update, ranked_after

__all__ = ["coalesced", "event_between"]


def event_between(
    before: tuple[Document, ...], after: tuple[Document, ...]
) -> Append | Update | None:
    """Returns the event that turns ``before`` into ``after``, an append where that is enough.

    Args:
        before: The ranked documents so far, each id once.
        after: The ranked documents to get to, each id once.

    Returns:
        None if there is nothing to do.
    """
    if after == before:
        return None
    if after[: len(before)] == before:
        return Append(documents=after[len(before) :])
    return Update(documents=after)


def coalesced(first: Append | Update, second: Append | Update) -> Append | Update:
    """Returns one event that does to any list what ``first`` and then ``second`` do."""
    match second:
        case Update():
            return second
        case Append():
            documents = ranked_after(ranked_after((), first), second)
            return first.model_copy(update={"documents": documents})
        case _:
            assert_never(second)
