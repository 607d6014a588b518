"""Combinators that are a function of the retrieved documents."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TypeAlias

from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update, ranked_after
from stream2llm_rag.sources._change import event_between
from stream2llm_rag.sources._protocol import ContextSource, events_of, typed_errors

__all__ = ["Derived", "View"]

View: TypeAlias = Callable[[tuple[Document, ...]], tuple[Document, ...]]
"""A pure function of a ranked list; ids stay distinct."""


class Derived:
    """Streams what a view makes of the documents of a source.

    After every event the view is applied to the whole list, and what it changed is passed on. The
    final context is therefore the view of the source's final one, however it arrived.

    Args:
        source: The source.
        make_view: Makes the view of one stream, which may remember what it computed.
        name: Shown in messages.
    """

    def __init__(self, source: ContextSource, make_view: Callable[[], View], name: str) -> None:
        self._source = source
        self._make_view = make_view
        self._name = name

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        """Retrieves for ``query``."""
        view = self._make_view()
        documents: tuple[Document, ...] = ()
        shown: tuple[Document, ...] = ()
        async with aclosing(events_of(self._source, query)) as events:
            async for event in events:
                documents = ranked_after(documents, event)
                with typed_errors(repr(self)):
                    wanted = view(documents)
                change = event_between(shown, wanted)
                shown = wanted
                if change is not None:
                    yield change

    def __repr__(self) -> str:
        return f"{self._name}({self._source!r})"
