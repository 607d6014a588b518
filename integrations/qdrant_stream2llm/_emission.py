"""Which documents of a ranking that is not final yet are passed on."""

from itertools import takewhile
from typing import Literal, TypeAlias

from stream2llm_rag import Append, Document, Update
from stream2llm_rag.sources import event_between

__all__ = ["Early", "Emission"]

Early: TypeAlias = Literal["settled", "all"]
"""What is passed on before the final ranking is there: ``"settled"`` are the first documents on
whose place two rankings in a row agree, ``"all"`` is every ranking as it is."""


class Emission:
    """Turns the rankings of one stream into events; the last event leads to the final one."""

    def __init__(self, early: Early) -> None:
        self._settled_only = early == "settled"
        self._ranking: tuple[Document, ...] = ()
        self._emitted: tuple[Document, ...] = ()

    def early(self, ranking: tuple[Document, ...]) -> Append | Update | None:
        """Takes a ranking that another one follows."""
        before, self._ranking = self._ranking, ranking
        if not self._settled_only:
            return self.final(ranking)
        known = len(self._emitted)
        agreed = _agreed(before, ranking)
        # What was passed on stays until the final ranking, even if this one disagrees.
        if len(_agreed(self._emitted, agreed)) < known:
            return None
        return self.final(self._emitted + agreed[known:])

    def final(self, ranking: tuple[Document, ...]) -> Append | Update | None:
        """Takes the ranking to end with."""
        event = event_between(self._emitted, ranking)
        self._emitted = ranking
        return event


def _agreed(first: tuple[Document, ...], second: tuple[Document, ...]) -> tuple[Document, ...]:
    """The documents at the start of ``second`` that stand in the same places of ``first``."""
    pairs = zip(first, second, strict=False)
    return tuple(b for _, b in takewhile(lambda pair: pair[0].id == pair[1].id, pairs))
