"""Framework-free core: documents, context events, prompts, sources and the streaming pipeline."""

from stream2llm_rag.documents import Document
from stream2llm_rag.errors import (
    ContextClosedError,
    ContextSourceError,
    ContextTimeoutError,
    PromptTemplateError,
    RagError,
)
from stream2llm_rag.events import Append, ContextEvent, Update
from stream2llm_rag.live import LiveContext
from stream2llm_rag.pipeline import (
    ContextFinal,
    ContextReceived,
    Finished,
    RagAnswer,
    RagEvent,
    RagTiming,
    StreamingRAG,
    Token,
)
from stream2llm_rag.prompt import PromptAssembler, RagPrompt, split_chat_template
from stream2llm_rag.reader import reader_model
from stream2llm_rag.sources import (
    ContextSource,
    Slot,
    TimedEvent,
    budget,
    coalesce,
    deduplicate,
    from_retriever,
    load_trace,
    merge,
    replay,
    rerank,
    save_trace,
    time_limit,
)

__all__ = [
    "Append",
    "ContextClosedError",
    "ContextEvent",
    "ContextFinal",
    "ContextReceived",
    "ContextSource",
    "ContextSourceError",
    "ContextTimeoutError",
    "Document",
    "Finished",
    "LiveContext",
    "PromptAssembler",
    "PromptTemplateError",
    "RagAnswer",
    "RagError",
    "RagEvent",
    "RagPrompt",
    "RagTiming",
    "Slot",
    "StreamingRAG",
    "TimedEvent",
    "Token",
    "Update",
    "budget",
    "coalesce",
    "deduplicate",
    "from_retriever",
    "load_trace",
    "merge",
    "reader_model",
    "replay",
    "rerank",
    "save_trace",
    "split_chat_template",
    "time_limit",
]
