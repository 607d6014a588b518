"""LlamaIndex integration: an LLM and engines that prefill while retrieval is running."""

from llama_index.llms.stream2llm._nodes import NodeUpdate
from llama_index.llms.stream2llm.base import Stream2LLM
from llama_index.llms.stream2llm.chat_engine import (
    StreamingContextChatEngine,
    as_streaming_chat_engine,
)
from llama_index.llms.stream2llm.events import ContextAppendEvent, ContextUpdateEvent
from llama_index.llms.stream2llm.query_engine import (
    StreamingQueryEngine,
    as_streaming_query_engine,
)
from llama_index.llms.stream2llm.retrievers import StreamingRetriever

__all__ = [
    "ContextAppendEvent",
    "ContextUpdateEvent",
    "NodeUpdate",
    "Stream2LLM",
    "StreamingContextChatEngine",
    "StreamingQueryEngine",
    "StreamingRetriever",
    "as_streaming_chat_engine",
    "as_streaming_query_engine",
]
