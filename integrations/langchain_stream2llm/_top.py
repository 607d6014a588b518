"""The first documents of a list that still changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_stream2llm._delta import DocumentDelta
from stream2llm_engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from langchain_core.documents import Document

__all__ = ["Top"]


class Top:
    """Cuts deltas so that they add up to the first ``k`` documents, at every moment.

    Args:
        k: How many; None lets all deltas pass as they are.

    Raises:
        InvalidRequestError: ``k`` is no positive number.
    """

    def __init__(self, k: int | None) -> None:
        if k is not None and k < 1:
            msg = f"k must be at least 1, got {k}; leave it out for all documents"
            raise InvalidRequestError(msg)
        self._k = k
        self._all = DocumentDelta()
        self._shown: list[Document] = []

    def take(self, delta: list[Document]) -> DocumentDelta:
        """Takes a change of the whole list in, and returns the change of its first documents."""
        if self._k is None:
            return DocumentDelta.of(delta)
        self._all += delta
        before, self._shown = self._shown, self._all[: self._k]
        return DocumentDelta.between(before, self._shown)
