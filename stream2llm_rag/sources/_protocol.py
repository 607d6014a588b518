"""What a context source is, and how one is consumed."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from stream2llm_engine.errors import Stream2LLMError
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.events import Append, Update
from stream2llm_rag.sources._items import as_event

__all__ = ["ContextSource", "events_of", "typed_errors"]


@runtime_checkable
class ContextSource(Protocol):
    """Anything that retrieves context for a query, event by event.

    The stream ends when the context is final. A consumer that stops early calls ``aclose`` on it if
    it has one, as async generators do; the source then stops its own work.
    """

    def stream(self, query: str) -> AsyncIterator[Append | Update]:
        """Retrieves for ``query``."""
        ...


async def events_of(source: ContextSource, query: str) -> AsyncGenerator[Append | Update, None]:
    """Iterates over a source's events, with typed errors; closing it closes the source's stream.

    Raises:
        ContextSourceError: The source failed.
    """
    stream = source.stream(query)
    try:
        with typed_errors(f"context source {source!r}"):
            async for event in stream:
                yield as_event(event)
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


@contextmanager
def typed_errors(what: str) -> Iterator[None]:
    """Turns any error of ``what`` into a ``ContextSourceError``, the original as its cause."""
    try:
        yield
    except Stream2LLMError:
        raise
    except Exception as error:
        msg = f"{what} failed: {type(error).__name__}: {error}"
        raise ContextSourceError(msg) from error
