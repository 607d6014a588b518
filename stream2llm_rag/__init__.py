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
from stream2llm_rag.prompt import PromptAssembler, RagPrompt, split_chat_template

__all__ = [
    "Append",
    "ContextClosedError",
    "ContextEvent",
    "ContextSourceError",
    "ContextTimeoutError",
    "Document",
    "LiveContext",
    "PromptAssembler",
    "PromptTemplateError",
    "RagError",
    "RagPrompt",
    "Update",
    "split_chat_template",
]
