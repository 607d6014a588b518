"""The shipped reader: a tiny Llama that answers "What is the X of Y?" from its context.

Importing this loads neither torch nor transformers; the training and evaluation modules do.
"""

from __future__ import annotations

from stream2llm_rag.reader._model import reader_model
from stream2llm_rag.reader.prompts import (
    ABSENT,
    DOCUMENT_TEMPLATE,
    QUESTION_TEMPLATE,
    SYSTEM_TEXT,
)
from stream2llm_rag.reader.question import parse_question
from stream2llm_rag.reader.world import STATEMENTS, Fact, Split, World, WorldDocument

__all__ = [
    "ABSENT",
    "DOCUMENT_TEMPLATE",
    "QUESTION_TEMPLATE",
    "STATEMENTS",
    "SYSTEM_TEXT",
    "Fact",
    "Split",
    "World",
    "WorldDocument",
    "parse_question",
    "reader_model",
]
