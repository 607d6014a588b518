"""What ``StreamingRetriever.wrap`` makes of what it is given."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol, runtime_checkable

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable

from langchain_stream2llm._composed import SourceRetriever
from langchain_stream2llm._documents import to_core
from langchain_stream2llm._ensemble import Ensemble, EnsembleStream
from langchain_stream2llm._wrapped import WrappedRetriever
from langchain_stream2llm.retrievers import StreamingRetriever
from stream2llm_engine.errors import UnsupportedFeatureError
from stream2llm_rag.documents import Document as CoreDocument
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.sources import ContextSource, from_retriever

__all__ = ["streaming"]


@runtime_checkable
class _Compression(Protocol):
    """What is used of ``ContextualCompressionRetriever``, whose package need not be installed."""

    base_compressor: BaseDocumentCompressor
    base_retriever: Runnable[str, list[Document]]


def streaming(retriever: Any, order: DocumentOrder) -> StreamingRetriever:
    """Makes a streaming retriever of another one, see ``StreamingRetriever.wrap``.

    Raises:
        UnsupportedFeatureError: It is no retriever.
    """
    match retriever:
        case StreamingRetriever():
            return retriever
        case BaseLoader():
            return SourceRetriever(source=_loaded(retriever))
        case Ensemble():
            members = [streaming(member, order) for member in retriever.retrievers]
            return EnsembleStream(ensemble=retriever, retrievers=members, order=order)
        case _Compression():
            first_stage = streaming(retriever.base_retriever, order)
            return first_stage.with_reranker(retriever.base_compressor, order=order)
        case Runnable():
            return WrappedRetriever(retriever=retriever)
        case _:
            msg = (
                f"{retriever!r} is no retriever: give a LangChain retriever or document loader,"
                " or make one of a context source with StreamingRetriever.from_source"
            )
            raise UnsupportedFeatureError(msg)


def _loaded(loader: BaseLoader) -> ContextSource:
    async def aload(query: str) -> AsyncIterator[tuple[CoreDocument, ...]]:
        async for document in loader.alazy_load():
            yield to_core([document])

    def load(query: str) -> Iterator[tuple[CoreDocument, ...]]:
        for document in loader.lazy_load():
            yield to_core([document])

    only_blocks = type(loader).alazy_load is BaseLoader.alazy_load
    retrieve = load if only_blocks else aload
    retrieve.__qualname__ = type(loader).__qualname__  # which errors show
    return from_retriever(retrieve)
