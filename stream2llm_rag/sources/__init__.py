"""Context sources: any retriever, several of them, combinators, and replayed traces."""

from stream2llm_rag.sources._budget import budget
from stream2llm_rag.sources._change import event_between
from stream2llm_rag.sources._coalesce import coalesce
from stream2llm_rag.sources._deduplicate import deduplicate
from stream2llm_rag.sources._merge import Slot, merge
from stream2llm_rag.sources._protocol import ContextSource, events_of, typed_errors
from stream2llm_rag.sources._replay import TimedEvent, load_trace, replay, save_trace
from stream2llm_rag.sources._rerank import Reranker, rerank, reranked
from stream2llm_rag.sources._retriever import from_retriever
from stream2llm_rag.sources._thread import run_in_thread
from stream2llm_rag.sources._time_limit import time_limit

__all__ = [
    "ContextSource",
    "Reranker",
    "Slot",
    "TimedEvent",
    "budget",
    "coalesce",
    "deduplicate",
    "event_between",
    "events_of",
    "from_retriever",
    "load_trace",
    "merge",
    "replay",
    "rerank",
    "reranked",
    "run_in_thread",
    "save_trace",
    "time_limit",
    "typed_errors",
]
