"""Any retriever as a context source."""

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from functools import partial
from typing import Any, Literal

from stream2llm_rag.events import Append, Update
from stream2llm_rag.sources._items import as_event
from stream2llm_rag.sources._protocol import ContextSource, typed_errors
from stream2llm_rag.sources._thread import iterate_in_thread
from stream2llm_rag.sources._time_limit import time_limit

__all__ = ["from_retriever"]


def from_retriever(
    retriever: Any,
    *,
    timeout_s: float | None = None,
    on_timeout: Literal["fail", "finish"] = "fail",
) -> ContextSource:
    """Makes a context source of a retriever.

    Args:
        retriever: A function of the query, or an object with a ``stream`` method that is one: sync
            or async, returning a result or iterating over several. Each result is a ``Document``, a
            string, a list of them, or a context event. An iterable or async iterable is taken as it
            is, whatever the query. What is synchronous runs in a thread of its own.
        timeout_s: Bound of the whole retrieval; None means none.
        on_timeout: ``"fail"`` raises ``ContextTimeoutError`` then, ``"finish"`` goes on with the
            documents that came in time.

    Raises:
        TypeError: ``retriever`` is none of these.
    """
    call = _as_call(retriever)
    source: ContextSource = _RetrieverSource(call, _name(retriever))
    if timeout_s is None:
        return source
    return time_limit(source, timeout_s, on_timeout=on_timeout)


class _RetrieverSource:
    def __init__(self, call: Callable[[str], Any], name: str) -> None:
        self._call = call
        self._name = name

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        with typed_errors(f"retriever {self._name}"):
            async with aclosing(_results(self._call, query)) as results:
                async for result in results:
                    yield as_event(result)

    def __repr__(self) -> str:
        return f"from_retriever({self._name})"


def _as_call(retriever: Any) -> Callable[[str], Any]:
    stream = getattr(retriever, "stream", None)
    if callable(stream):
        return stream  # type: ignore[no-any-return]
    if callable(retriever):
        return retriever  # type: ignore[no-any-return]
    if isinstance(retriever, AsyncIterable):
        return lambda _query: aiter(retriever)
    if isinstance(retriever, Iterable) and not isinstance(retriever, str | bytes):
        return lambda _query: iter(retriever)
    msg = f"{retriever!r} is not a retriever: give a function, a ContextSource or an iterable"
    raise TypeError(msg)


def _name(retriever: Any) -> str:
    name = getattr(retriever, "__qualname__", None) or type(retriever).__qualname__
    return str(name)


async def _results(call: Callable[[str], Any], query: str) -> AsyncGenerator[Any, None]:
    """Yields what the retriever returns, item by item, with sync code kept off the loop."""
    if _runs_on_loop(call):
        async for result in _resolved(call(query)):
            yield result
        return
    async with aclosing(iterate_in_thread(partial(_call_sync, call, query))) as items:
        async for item in items:
            async for result in _resolved(item):
                yield result


def _runs_on_loop(call: Callable[[str], Any]) -> bool:
    target = call.func if isinstance(call, partial) else call
    candidates = (target, getattr(target, "__call__", None))  # noqa: B004 - the method is wanted
    return any(
        inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate)
        for candidate in candidates
    )


def _call_sync(call: Callable[[str], Any], query: str) -> Iterable[Any]:
    result = call(query)
    return result if isinstance(result, Iterator) else [result]


async def _resolved(result: Any) -> AsyncIterator[Any]:
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, AsyncIterator):
        try:
            async for item in result:
                yield item
        finally:
            if hasattr(result, "aclose"):
                await result.aclose()
    elif isinstance(result, Iterator):
        async with aclosing(iterate_in_thread(lambda: result)) as items:
            async for item in items:
                yield item
    else:
        yield result
