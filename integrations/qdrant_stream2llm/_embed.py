"""Calling the user's embedding function, sync or async, off the event loop."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

__all__ = ["Embed", "SyncEmbed", "as_vector", "embed_query"]

_Vectors: TypeAlias = Sequence[Sequence[float]] | Any
SyncEmbed: TypeAlias = Callable[[Sequence[str]], _Vectors]
"""Turns texts into vectors, one per text: nested lists or a two-dimensional array."""
Embed: TypeAlias = SyncEmbed | Callable[[Sequence[str]], Awaitable[_Vectors]]
"""The same, sync or async."""


async def embed_query(embed: Embed, query: str) -> list[float]:
    """Embeds one query; a sync function runs in a thread."""
    if inspect.iscoroutinefunction(embed):
        vectors = await embed([query])
    else:
        vectors = await asyncio.to_thread(embed, [query])
        if inspect.isawaitable(vectors):
            vectors = await vectors
    return as_vector(cast("_Vectors", vectors)[0])


def as_vector(row: Any) -> list[float]:
    """Returns a row of any array as plain floats."""
    return [float(value) for value in row]
