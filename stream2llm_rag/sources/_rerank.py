"""Reranking as a last update."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeAlias, cast

from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update, ranked_after
from stream2llm_rag.sources._protocol import ContextSource, events_of, typed_errors
from stream2llm_rag.sources._thread import run_in_thread

__all__ = ["Reranker", "rerank", "reranked"]

_Ranked: TypeAlias = Sequence[Document]
Reranker: TypeAlias = Callable[[str, tuple[Document, ...]], _Ranked | Awaitable[_Ranked]]
"""Takes the query and the ranked documents and returns those to keep, best first."""


def rerank(source: ContextSource, reranker: Reranker) -> ContextSource:
    """Passes the events of ``source`` on as they come and reranks the documents at the end.

    The model so prefills the first-stage hits while the reranker runs; with ``order="stable"`` only
    what the reranker drops is thrown away.

    Args:
        source: The first stage.
        reranker: Takes the query and the ranked documents and returns those to keep, best first. A
            sync one runs in a thread of its own.
    """
    return _Reranked(source, reranker)


async def reranked(
    reranker: Reranker, query: str, documents: tuple[Document, ...]
) -> tuple[Document, ...]:
    """Calls a reranker, sync or async, off the event loop.

    Raises:
        ContextSourceError: It failed.
    """
    with typed_errors("the reranker"):
        if inspect.iscoroutinefunction(reranker):
            return tuple(cast("_Ranked", await reranker(query, documents)))
        ranked = await run_in_thread(lambda: reranker(query, documents))
        return tuple(await ranked if inspect.isawaitable(ranked) else ranked)


class _Reranked:
    def __init__(self, source: ContextSource, reranker: Reranker) -> None:
        self._source = source
        self._reranker = reranker

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        documents: tuple[Document, ...] = ()
        async with aclosing(events_of(self._source, query)) as events:
            async for event in events:
                documents = ranked_after(documents, event)
                yield event
        if documents:
            yield Update(documents=await reranked(self._reranker, query, documents))

    def __repr__(self) -> str:
        return f"rerank({self._source!r})"
