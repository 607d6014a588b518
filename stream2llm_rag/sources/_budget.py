"""A bound on how many tokens of context a source may bring."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from stream2llm_rag.documents import Document
from stream2llm_rag.sources._derived import Derived, View
from stream2llm_rag.sources._protocol import ContextSource
from stream2llm_rag.sources._sentences import longest_start

__all__ = ["budget"]


class _Tokenizer(Protocol):
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


_Priority: TypeAlias = Callable[[Document], float]


def budget(
    source: ContextSource,
    *,
    tokens: int,
    tokenizer: _Tokenizer | Callable[[str], int],
    priority: _Priority | None = None,
    truncate: bool = True,
    per_document: int = 0,
) -> ContextSource:
    """Keeps the context of ``source`` within a number of tokens.

    Documents are taken by priority while they fit. One that does not is cut behind the last whole
    sentence that does, once; then only whole documents fill what is left. The others are dropped.
    The order of the documents stays the source's. When a later event changes what fits, an update
    says so: the final context is what all documents at once would have given.

    Args:
        source: The source to bound.
        tokens: Most tokens of the context.
        tokenizer: The model's, ``engine.tokenizer``, or a function that counts the tokens of a
            text.
        priority: Which documents to keep, higher first; by default those ranked higher. Documents
            of one priority are taken by rank.
        truncate: Whether to cut a document rather than drop it. Its metadata then has
            ``"truncated": True``.
        per_document: Tokens that the prompt spends on a document besides its text.

    Raises:
        ValueError: ``tokens`` is less than 1 or ``per_document`` is negative.
    """
    if tokens < 1 or per_document < 0:
        msg = f"a budget is at least 1 token and 0 per document, got {tokens} and {per_document}"
        raise ValueError(msg)

    count = _counter(tokenizer)

    def make_view() -> View:
        return _Budget(tokens, count, priority, per_document, truncate=truncate)

    return Derived(source, make_view, f"budget {tokens}")


class _Budget:
    def __init__(
        self,
        tokens: int,
        count: Callable[[str], int],
        priority: _Priority | None,
        per_document: int,
        *,
        truncate: bool,
    ) -> None:
        self._tokens = tokens
        self._count_tokens = count
        self._counts: dict[str, int] = {}
        self._priority = priority
        self._per_document = per_document
        self._truncate = truncate

    def __call__(self, documents: tuple[Document, ...]) -> tuple[Document, ...]:
        kept: dict[str, Document] = {}
        room = self._tokens
        may_cut = self._truncate
        for document in self._by_priority(documents):
            fitting = self._fitting(document, room, may_cut=may_cut)
            if fitting is not None:
                may_cut = may_cut and fitting is document
                room -= self._cost(fitting.text)
                kept[document.id] = fitting
        return tuple(kept[document.id] for document in documents if document.id in kept)

    def _by_priority(self, documents: tuple[Document, ...]) -> tuple[Document, ...]:
        if self._priority is None:
            return documents
        return tuple(sorted(documents, key=self._priority, reverse=True))

    def _fitting(self, document: Document, room: int, *, may_cut: bool) -> Document | None:
        if self._cost(document.text) <= room:
            return document
        if not may_cut:
            return None
        start = longest_start(document.text, lambda text: self._cost(text) <= room)
        if not start:
            return None
        metadata = {**document.metadata, "truncated": True}
        return document.model_copy(update={"text": start, "metadata": metadata})

    def _cost(self, text: str) -> int:
        if text not in self._counts:
            self._counts[text] = self._count_tokens(text) + self._per_document
        return self._counts[text]


def _counter(tokenizer: _Tokenizer | Callable[[str], int]) -> Callable[[str], int]:
    # A Hugging Face tokenizer can be called too, but counts by encoding.
    encode = getattr(tokenizer, "encode", None)
    if encode is not None:
        return lambda text: len(encode(text, add_special_tokens=False))
    if callable(tokenizer):
        return tokenizer
    msg = f"{tokenizer!r} is neither a tokenizer nor a function that counts tokens"
    raise TypeError(msg)
