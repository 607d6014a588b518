"""Retrievers that yield documents while they are still searching."""

import inspect
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, ClassVar

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from langchain_stream2llm._background import iterate, run_retrieval
from langchain_stream2llm._delta import DocumentDelta
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.sources import ContextSource

__all__ = ["StreamingRetriever"]


class StreamingRetriever(BaseRetriever):
    """A retriever that streams: one async generator, every LangChain method.

    A subclass writes ``_astream_documents``. ``astream`` and ``stream`` yield its documents as
    ``DocumentDelta`` while they come, ``ainvoke`` and ``invoke`` return their sum, and each call
    is one retriever run to callbacks. Keyword arguments of a call reach the generator where it
    has a parameter for them.

    ```python
    class CrawlRetriever(StreamingRetriever):
        async def _astream_documents(self, query, *, run_manager):
            async for page in crawl(query):
                yield [Document(page_content=page.text, id=page.url)]
    ```
    """

    _accepted: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._accepted = frozenset(inspect.signature(cls._astream_documents).parameters)

    @abstractmethod
    def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> AsyncIterator[list[Document]]:
        """Yields documents as they are found.

        Args:
            query: What to search for.
            run_manager: Callbacks of this run.

        Yields:
            Lists of new documents, or ``DocumentDelta`` to replace and retract earlier ones.
        """

    @staticmethod
    def wrap(retriever: BaseRetriever) -> "StreamingRetriever":
        """Gives any retriever the interface of a streaming one.

        What a retriever returns at once arrives as one delta; callbacks see that retriever's run.
        """
        from langchain_stream2llm._adapters import WrappedRetriever

        if isinstance(retriever, StreamingRetriever):
            return retriever
        return WrappedRetriever(retriever=retriever)

    @staticmethod
    def from_source(source: ContextSource, order: DocumentOrder = "stable") -> "StreamingRetriever":
        """Makes a retriever of a context source.

        Args:
            source: What to stream from.
            order: ``"stable"`` keeps documents where they are when a later event ranks them anew,
                so that less is computed twice; ``"rank"`` follows the source.
        """
        from langchain_stream2llm._adapters import SourceRetriever

        return SourceRetriever(source=source, order=order)

    async def astream(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncGenerator[DocumentDelta, None]:
        """Yields documents while they are found; the deltas add up to what ``ainvoke`` returns."""
        run_manager = await self._start(input, ensure_config(config), kwargs)
        total = DocumentDelta()
        try:
            async with aclosing(self._deltas(input, run_manager, kwargs)) as deltas:
                async for delta in deltas:
                    total += delta
                    yield delta
        except BaseException as error:
            await run_manager.on_retriever_error(error)
            raise
        else:
            await run_manager.on_retriever_end(list(total))

    def stream(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[DocumentDelta]:
        """Yields documents while they are found, as ``astream`` does."""
        yield from iterate(run_retrieval, self.astream(input, config, **kwargs))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        total = DocumentDelta()
        async with aclosing(self._deltas(query, run_manager, kwargs)) as deltas:
            async for delta in deltas:
                total += delta
        return list(total)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return run_retrieval(
            self._aget_relevant_documents(query, run_manager=_as_async(run_manager), **kwargs)
        )

    async def _deltas(
        self, query: str, run_manager: AsyncCallbackManagerForRetrieverRun, kwargs: dict[str, Any]
    ) -> AsyncGenerator[DocumentDelta, None]:
        accepted = {name: value for name, value in kwargs.items() if name in self._accepted}
        found = self._astream_documents(query, run_manager=run_manager, **accepted)
        try:
            async for documents in found:
                yield DocumentDelta.of(documents)
        finally:
            if isinstance(found, AsyncGenerator):
                await found.aclose()

    async def _start(
        self, query: str, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AsyncCallbackManagerForRetrieverRun:
        manager = AsyncCallbackManager.configure(
            config.get("callbacks"),
            None,
            verbose=kwargs.get("verbose", False),
            inheritable_tags=config.get("tags"),
            local_tags=self.tags,
            inheritable_metadata={**config.get("metadata", {}), **self._get_ls_params(**kwargs)},
            local_metadata=self.metadata,
        )
        return await manager.on_retriever_start(
            None,
            query,
            name=config.get("run_name") or self.get_name(),
            run_id=config.pop("run_id", None),
        )


def _as_async(manager: CallbackManagerForRetrieverRun) -> AsyncCallbackManagerForRetrieverRun:
    return AsyncCallbackManagerForRetrieverRun(
        run_id=manager.run_id,
        handlers=manager.handlers,
        inheritable_handlers=manager.inheritable_handlers,
        parent_run_id=manager.parent_run_id,
        tags=manager.tags,
        inheritable_tags=manager.inheritable_tags,
        metadata=manager.metadata,
        inheritable_metadata=manager.inheritable_metadata,
    )
