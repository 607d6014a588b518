"""A retriever that answers at once, as a streaming one."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase

from langchain_stream2llm._delta import DocumentDelta
from langchain_stream2llm._options import accepted
from langchain_stream2llm._top import Top
from langchain_stream2llm.retrievers import StreamingRetriever
from stream2llm_rag.sources import run_in_thread

__all__ = ["WrappedRetriever"]

_INHERITED = frozenset({BaseRetriever.__module__, Runnable.__module__})


class WrappedRetriever(StreamingRetriever):
    """Passes every call on whole, so that callbacks see one run: the retriever's own.

    Synchronous calls stay synchronous.
    """

    retriever: Runnable[str, list[Document]]

    async def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> AsyncGenerator[DocumentDelta, None]:
        async for delta in self.astream(query, {"callbacks": run_manager.get_child()}):
            yield delta

    async def astream(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncGenerator[DocumentDelta, None]:
        """Yields what the retriever returns; one that only blocks is called in a thread."""
        k, options = self._passed_on(kwargs)
        top = Top(k)
        async with aclosing(self._found(input, config, options)) as found:
            async for documents in found:
                yield top.take(documents)

    def stream(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[DocumentDelta]:
        """Yields what the retriever returns."""
        k, options = self._passed_on(kwargs)
        yield from map(Top(k).take, self.retriever.stream(input, config, **options))

    async def ainvoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """Calls the retriever."""
        total = DocumentDelta()
        async with aclosing(self.astream(input, config, **kwargs)) as deltas:
            async for delta in deltas:
                total += delta
        return list(total)

    def invoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """Calls the retriever."""
        k, options = self._passed_on(kwargs)
        return list(Top(k).take(self.retriever.invoke(input, config, **options)))

    async def _found(
        self, query: str, config: RunnableConfig | None, options: Mapping[str, Any]
    ) -> AsyncGenerator[list[Document], None]:
        if not _only_blocks(self.retriever):
            found = self.retriever.astream(query, config, **options)
            try:
                async for documents in found:
                    yield documents
            except NotImplementedError:
                # How many retrievers say that they have no asynchronous method.
                pass
            else:
                return
            finally:
                if isinstance(found, AsyncGenerator):
                    await found.aclose()
        yield await run_in_thread(partial(self.retriever.invoke, query, config, **options))

    def _passed_on(self, kwargs: Mapping[str, Any]) -> tuple[int | None, dict[str, Any]]:
        """Returns how many documents a call wants, and the options that the retriever takes."""
        k, options = self._limited(kwargs)
        target = self.retriever
        while isinstance(target, RunnableBindingBase):
            target = target.bound
        if isinstance(target, BaseRetriever):
            return k, accepted(target._get_relevant_documents, options)
        return k, {name: value for name, value in options.items() if name != "k"}


def _only_blocks(retriever: Runnable[str, list[Document]]) -> bool:
    """Whether LangChain itself would call it in the event loop's own few threads."""
    if not isinstance(retriever, BaseRetriever):
        return False
    kind = type(retriever)
    methods = (kind._aget_relevant_documents, kind.ainvoke, kind.astream)
    return all(method.__module__ in _INHERITED for method in methods)
