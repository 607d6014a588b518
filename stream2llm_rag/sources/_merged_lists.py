"""The ranked lists of several sources as one ranked list."""

from collections.abc import Sequence

from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update, ranked_after

__all__ = ["MergedLists"]


class MergedLists:
    """What several sources have found so far.

    Args:
        priorities: Of each source; higher ones rank in front.
        limits: How many documents of each source count; None: all.
    """

    def __init__(self, priorities: Sequence[int], limits: Sequence[int | None]) -> None:
        self._priorities = priorities
        self._limits = limits
        # Both in the order in which the sources delivered first.
        self._lists: dict[int, tuple[Document, ...]] = {}
        self._levels: dict[int, tuple[Document, ...]] = {}

    def apply(self, source: int, event: Append | Update) -> None:
        """Takes an event of a source in."""
        self._lists[source] = ranked_after(self._lists.get(source, ()), event)
        priority = self._priorities[source]
        level = self._levels.get(priority, ())
        if isinstance(event, Append):
            self._levels[priority] = ranked_after(level, Append(documents=self._counted(source)))
        else:
            peers = [peer for peer in self._lists if self._priorities[peer] == priority]
            anew = tuple(doc for peer in peers for doc in self._counted(peer))
            self._levels[priority] = ranked_after((), Update(documents=anew))

    @property
    def documents(self) -> tuple[Document, ...]:
        """The merged list, each id once; the copy that ranks first counts."""
        levels = sorted(self._levels, reverse=True)
        merged = tuple(doc for priority in levels for doc in self._levels[priority])
        return ranked_after((), Update(documents=merged))

    def _counted(self, source: int) -> tuple[Document, ...]:
        return self._lists[source][: self._limits[source]]
