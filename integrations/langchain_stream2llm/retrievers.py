"""Retrievers that yield documents while they are still searching."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Literal

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config

from langchain_stream2llm._background import iterate, run_retrieval
from langchain_stream2llm._delta import DocumentDelta
from langchain_stream2llm._options import accepted
from langchain_stream2llm._top import Top
from stream2llm_engine.errors import InvalidRequestError
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

    Attributes:
        k: Return the first so many documents only; ``k`` of a call goes first. The generator gets
            it if it has a parameter ``k``, and needs not follow it.
    """

    k: int | None = None

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

    # -- made of others --------------------------------------------------------------------------

    @staticmethod
    def wrap(
        retriever: Runnable[str, list[Document]] | BaseLoader, *, order: DocumentOrder = "rank"
    ) -> "StreamingRetriever":
        """Makes a streaming retriever of any other, or of a document loader.

        - A document loader streams what it loads, whatever the query.
        - LangChain's ``EnsembleRetriever`` streams what its members find as they find it, and then
          the fused ranking.
        - Its ``ContextualCompressionRetriever`` streams what its retriever finds, and then what the
          compressor makes of that.
        - Whatever else returns its documents at once streams one delta. Callbacks see that
          retriever's run, errors are its own, and one without an async implementation runs in a
          thread, not on the event loop.

        Args:
            retriever: What to call.
            order: Where a ranking comes at the end: ``"rank"`` follows it, as the retriever itself
                would. With ``"stable"`` documents stay where they are as long as they are in, so
                that the model has to compute less again.
        """
        from langchain_stream2llm._adapters import streaming

        return streaming(retriever, order)

    @staticmethod
    def from_source(source: ContextSource, order: DocumentOrder = "stable") -> "StreamingRetriever":
        """Makes a retriever of a context source.

        Args:
            source: What to stream from.
            order: ``"stable"`` keeps documents where they are when a later event ranks them anew,
                so that less is computed twice; ``"rank"`` follows the source.
        """
        from langchain_stream2llm._composed import SourceRetriever

        return SourceRetriever(source=source, order=order)

    @staticmethod
    def merge(
        *retrievers: Runnable[str, list[Document]] | BaseLoader,
        on_error: Literal["skip", "fail"] = "skip",
        order: DocumentOrder = "stable",
    ) -> "StreamingRetriever":
        """Runs retrievers side by side and streams what they find in the order it arrives.

        A document that several find is there once: the same id, or without ids the same text.

        Args:
            *retrievers: At least one, of the kinds that ``wrap`` takes.
            on_error: ``"skip"`` logs a warning when one fails, keeps what it found and goes on;
                when all fail, the last error is raised. ``"fail"`` stops all when one fails.
            order: ``"stable"`` is the order of arrival. With ``"rank"`` documents of the retriever
                given first stand in front, whenever they come: the same documents then always make
                the same prompt, but the model computes again what had to move.
        """
        from langchain_stream2llm._composed import MergedRetriever

        if not retrievers:
            msg = "merge() takes at least one retriever"
            raise InvalidRequestError(msg)
        members = [StreamingRetriever.wrap(retriever) for retriever in retrievers]
        return MergedRetriever(retrievers=members, on_error=on_error, order=order)

    def with_reranker(
        self, compressor: BaseDocumentCompressor, *, order: DocumentOrder = "stable"
    ) -> "StreamingRetriever":
        """Streams what this retriever finds, and then what a reranker or compressor keeps of it.

        The model computes the first stage's documents while the reranker runs.

        Args:
            compressor: Any LangChain document compressor; a synchronous one runs in a thread.
            order: ``"stable"`` leaves the documents that stay where they are, so that the model has
                to compute again only what is behind the first one dropped; ``"rank"`` moves them
                into the reranker's order.
        """
        from langchain_stream2llm._composed import RerankedRetriever

        return RerankedRetriever(retriever=self, compressor=compressor, order=order)

    def with_time_limit(
        self, timeout_s: float, *, on_timeout: Literal["finish", "fail"] = "finish"
    ) -> "StreamingRetriever":
        """Ends this retriever's search after a time.

        Args:
            timeout_s: Seconds from the call on.
            on_timeout: ``"finish"`` goes on with the documents that came in time, ``"fail"`` raises
                ``ContextTimeoutError``.
        """
        from langchain_stream2llm._composed import TimeLimitedRetriever

        return TimeLimitedRetriever(retriever=self, timeout_s=timeout_s, on_timeout=on_timeout)

    # -- LangChain's methods ---------------------------------------------------------------------

    async def astream(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncGenerator[DocumentDelta, None]:
        """Yields documents while they are found; the deltas add up to what ``ainvoke`` returns.

        At least one delta comes, an empty one if nothing was found.
        """
        run_manager = await self._start(input, ensure_config(config), kwargs)
        total, came = DocumentDelta(), False
        try:
            async with aclosing(self._deltas(input, run_manager, kwargs)) as deltas:
                async for delta in deltas:
                    total, came = total + delta, True
                    yield delta
            if not came:
                yield DocumentDelta()
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
        k, options = self._limited(kwargs)
        top = Top(k)
        find = self._astream_documents
        found = find(query, run_manager=run_manager, **accepted(find, options))
        try:
            async for documents in found:
                delta = top.take(documents)
                if not delta.changes_nothing:
                    yield delta
        finally:
            if isinstance(found, AsyncGenerator):
                await found.aclose()

    def _limited(self, options: Mapping[str, Any]) -> tuple[int | None, dict[str, Any]]:
        """Returns how many documents a call wants, and its options with that among them."""
        k = self.k if options.get("k") is None else options["k"]
        return k, {**options, **({} if k is None else {"k": k})}

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
