"""LlamaIndex integration: an LLM and a query engine that prefill while retrieval is running."""

from llama_index.llms.stream2llm.base import Stream2LLM
from llama_index.llms.stream2llm.query_engine import (
    StreamingQueryEngine,
    as_streaming_query_engine,
)
from llama_index.llms.stream2llm.retrievers import StreamingRetriever

__all__ = [
    "Stream2LLM",
    "StreamingQueryEngine",
    "StreamingRetriever",
    "as_streaming_query_engine",
]
