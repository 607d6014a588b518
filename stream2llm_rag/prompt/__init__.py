"""Prompt assembly: templates, document order, and token lists that do not depend on the mode."""

from stream2llm_rag.prompt._assembler import PromptAssembler
from stream2llm_rag.prompt._chat_template import (
    SENTINEL,
    render_chat_template,
    split_chat_template,
    split_rendered,
)
from stream2llm_rag.prompt._delta import (
    AppendTokens,
    PromptDelta,
    ReplaceTokens,
    Unchanged,
    send_delta,
)
from stream2llm_rag.prompt._encoding import Tokenizer
from stream2llm_rag.prompt._order import DocumentOrder, ordered_after
from stream2llm_rag.prompt._rag_prompt import RagPrompt

__all__ = [
    "SENTINEL",
    "AppendTokens",
    "DocumentOrder",
    "PromptAssembler",
    "PromptDelta",
    "RagPrompt",
    "ReplaceTokens",
    "Tokenizer",
    "Unchanged",
    "ordered_after",
    "render_chat_template",
    "send_delta",
    "split_chat_template",
    "split_rendered",
]
