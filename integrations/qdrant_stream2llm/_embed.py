"""Embedding texts with whatever the user has for it, queries off the event loop."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np

from stream2llm_rag.sources import run_in_thread, typed_errors

__all__ = ["Embed", "QueryVectors", "SyncEmbed", "document_vectors", "is_sparse", "plain_vector"]


@runtime_checkable
class _LangChainEmbeddings(Protocol):
    def embed_documents(self, texts: list[str]) -> list[list[float]]: ...

    async def aembed_query(self, text: str) -> list[float]: ...


@runtime_checkable
class _LlamaIndexEmbedding(Protocol):
    def get_text_embedding_batch(self, texts: list[str]) -> list[list[float]]: ...

    async def aget_query_embedding(self, query: str) -> list[float]: ...


_Vectors: TypeAlias = Sequence[Any] | Any
SyncEmbed: TypeAlias = (
    Callable[[Sequence[str]], _Vectors] | _LangChainEmbeddings | _LlamaIndexEmbedding
)
"""Turns texts into vectors, one per text: nested lists, an array, or sparse vectors, which have
``indices`` and ``values``. An embedding object of LangChain or LlamaIndex does as well."""
Embed: TypeAlias = SyncEmbed | Callable[[Sequence[str]], Awaitable[_Vectors]]
"""The same, sync or async."""


class QueryVectors:
    """The vectors of one query, each computed once."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._tasks: dict[int, asyncio.Task[Any]] = {}

    async def of(self, embed: Embed) -> Any:
        """Returns the query's vector.

        Raises:
            ContextSourceError: Embedding failed.
        """
        if id(embed) not in self._tasks:
            self._tasks[id(embed)] = asyncio.create_task(_embed_query(embed, self._query))
        with typed_errors("embedding the query"):
            return await self._tasks[id(embed)]

    async def close(self) -> None:
        """Stops what is still being computed."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def document_vectors(embed: SyncEmbed, texts: list[str]) -> _Vectors:
    """Embeds texts that are to be found; blocks."""
    if isinstance(embed, _LangChainEmbeddings):
        return embed.embed_documents(texts)
    if isinstance(embed, _LlamaIndexEmbedding):
        return embed.get_text_embedding_batch(texts)
    return embed(texts)


def is_sparse(vector: Any) -> bool:
    """Whether a vector is sparse."""
    return hasattr(vector, "indices") and hasattr(vector, "values")


def plain_vector(vector: Any) -> Any:
    """Returns a dense vector, or several of them for one text, as plain floats."""
    return np.asarray(vector, dtype=np.float64).tolist()


async def _embed_query(embed: Embed, query: str) -> Any:
    if isinstance(embed, _LangChainEmbeddings):
        return await embed.aembed_query(query)
    if isinstance(embed, _LlamaIndexEmbedding):
        return await embed.aget_query_embedding(query)
    if inspect.iscoroutinefunction(embed):
        vectors = await embed([query])
    else:
        vectors = await run_in_thread(lambda: embed([query]))
        if inspect.isawaitable(vectors):
            vectors = await vectors
    return cast("_Vectors", vectors)[0]
