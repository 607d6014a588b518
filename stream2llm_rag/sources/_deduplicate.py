"""Dropping documents that say what a better ranked one already says."""

import re
from collections.abc import Iterable

from stream2llm_rag.documents import Document
from stream2llm_rag.sources._derived import Derived
from stream2llm_rag.sources._protocol import ContextSource

__all__ = ["Distinct", "deduplicate"]

# Scripts that put no spaces between words count by character.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def deduplicate(
    source: ContextSource, *, threshold: float = 0.8, shingle_words: int = 3
) -> ContextSource:
    """Drops near-duplicates: mirrored pages, reposts, overlapping chunks.

    Two documents are near-duplicates if the runs of words they share are at least ``threshold`` of
    all that either has (the Jaccard index of their shingles). The better ranked one stays; upper
    and lower case, punctuation and layout do not count. A document without words is kept.

    Contexts have tens of documents, so the index is computed exactly and not estimated by hashing.

    Args:
        source: The source.
        threshold: From which share on a document is dropped; 1 drops equal ones only.
        shingle_words: Length of a run. Longer ones tell reordered text apart.

    Raises:
        ValueError: ``threshold`` is not above 0 and at most 1, or ``shingle_words`` less than 1.
    """
    if not 0 < threshold <= 1 or shingle_words < 1:
        msg = (
            f"threshold is above 0 and at most 1, shingle_words at least 1;"
            f" got {threshold} and {shingle_words}"
        )
        raise ValueError(msg)
    return Derived(source, lambda: Distinct(threshold, shingle_words), "deduplicate")


class Distinct:
    def __init__(self, threshold: float, shingle_words: int) -> None:
        self._threshold = threshold
        self._length = shingle_words
        self._shingles: dict[str, frozenset[str]] = {}
        self._similar: dict[tuple[str, str], bool] = {}

    def __call__(self, documents: tuple[Document, ...]) -> tuple[Document, ...]:
        kept: list[Document] = []
        for document in documents:
            if not any(self._are_similar(earlier.text, document.text) for earlier in kept):
                kept.append(document)
        return tuple(kept)

    def _are_similar(self, first: str, second: str) -> bool:
        if (first, second) not in self._similar:
            self._similar[first, second] = self._compare(
                self._shingles_of(first), self._shingles_of(second)
            )
        return self._similar[first, second]

    def _compare(self, first: frozenset[str], second: frozenset[str]) -> bool:
        smaller, larger = sorted((len(first), len(second)))
        # Nothing is shared beyond the smaller set, which mostly settles it.
        if smaller == 0 or smaller < self._threshold * larger:
            return False
        shared = len(first & second)
        return shared >= self._threshold * (smaller + larger - shared)

    def _shingles_of(self, text: str) -> frozenset[str]:
        if text not in self._shingles:
            self._shingles[text] = frozenset(_shingles(text, self._length))
        return self._shingles[text]


def _shingles(text: str, length: int) -> Iterable[str]:
    words = _WORD.findall(text.casefold())
    if not words:
        return
    for start in range(max(1, len(words) - length + 1)):
        yield " ".join(words[start : start + length])
