"""The streaming RAG pipeline: question in, context and tokens out."""

from stream2llm_rag.pipeline._events import (
    ContextFinal,
    ContextReceived,
    Finished,
    RagAnswer,
    RagEvent,
    RagTiming,
    Token,
)
from stream2llm_rag.pipeline._streaming_rag import StreamingRAG

__all__ = [
    "ContextFinal",
    "ContextReceived",
    "Finished",
    "RagAnswer",
    "RagEvent",
    "RagTiming",
    "StreamingRAG",
    "Token",
]
