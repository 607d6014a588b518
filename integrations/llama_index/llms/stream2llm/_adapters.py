"""What ``StreamingRetriever.wrap`` makes of what it is given."""

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.retrievers import QueryFusionRetriever

from llama_index.llms.stream2llm._fusion import FusionStream
from llama_index.llms.stream2llm._wrapped import WrappedRetriever
from llama_index.llms.stream2llm.retrievers import StreamingRetriever
from stream2llm_engine.errors import UnsupportedFeatureError
from stream2llm_rag.prompt import DocumentOrder

__all__ = ["streaming"]


def streaming(retriever: object, order: DocumentOrder) -> StreamingRetriever:
    """Makes a streaming retriever of another one, see ``StreamingRetriever.wrap``.

    Raises:
        UnsupportedFeatureError: It is no retriever.
    """
    match retriever:
        case StreamingRetriever():
            return retriever
        case QueryFusionRetriever() if FusionStream.knows(retriever):
            return FusionStream(retriever, order=order)
        case BaseRetriever():
            return WrappedRetriever(retriever, order=order)
        case _:
            msg = (
                f"{retriever!r} is no retriever: give a LlamaIndex retriever, or make one of a"
                " context source with StreamingRetriever.from_source"
            )
            raise UnsupportedFeatureError(msg)
