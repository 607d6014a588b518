"""Context sources: any retriever, several of them, reranking, and replayed traces."""

from stream2llm_rag.sources._merge import merge
from stream2llm_rag.sources._protocol import ContextSource, events_of, typed_errors
from stream2llm_rag.sources._replay import TimedEvent, load_trace, replay, save_trace
from stream2llm_rag.sources._rerank import Reranker, rerank
from stream2llm_rag.sources._retriever import from_retriever
from stream2llm_rag.sources._time_limit import time_limit

__all__ = [
    "ContextSource",
    "Reranker",
    "TimedEvent",
    "events_of",
    "from_retriever",
    "load_trace",
    "merge",
    "replay",
    "rerank",
    "save_trace",
    "time_limit",
    "typed_errors",
]
