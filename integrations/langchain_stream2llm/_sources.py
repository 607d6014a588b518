"""A LangChain retriever as a context source of the core."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_stream2llm._events import EventLog

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.runnables import Runnable, RunnableConfig

    from stream2llm_rag.events import Append, Update

__all__ = ["RetrieverSource"]


@dataclass(frozen=True, slots=True)
class RetrieverSource:
    """One call of a retriever, as events.

    Attributes:
        retriever: Streams documents, or returns them at once.
        config: Callbacks and the like.
        options: Keyword arguments of the call.
        log: What it found.
    """

    retriever: Runnable[str, list[Document]]
    config: RunnableConfig
    options: Mapping[str, Any]
    log: EventLog = field(default_factory=EventLog)

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        """Retrieves; to be called once."""
        found = self.retriever.astream(query, self.config, **self.options)
        try:
            async for documents in found:
                if (event := self.log.take(documents)) is not None:
                    yield event
        finally:
            if isinstance(found, AsyncGenerator):
                await found.aclose()

    def __repr__(self) -> str:
        return self.retriever.get_name()
