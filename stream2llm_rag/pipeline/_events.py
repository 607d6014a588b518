"""What happens while a question is being answered."""

from dataclasses import dataclass
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict

from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update

__all__ = [
    "ContextFinal",
    "ContextReceived",
    "Finished",
    "RagAnswer",
    "RagEvent",
    "RagTiming",
    "Token",
]


class RagTiming(BaseModel):
    """Where the time of one answer went.

    Attributes:
        retrieval_s: From the question to the final context.
        ttft_s: From the final context to the first token.
        time_to_first_token_s: From the question to the first token.
        total_s: From the question to the last token.
        prompt_tokens: Length of the final prompt.
        prefilled_before_final: Of these, how many were computed when the context became final.
        invalidated_tokens: Computed tokens that updates threw away.
        reused_tokens: Tokens that came from the engine's prefix cache.
    """

    model_config = ConfigDict(frozen=True)

    retrieval_s: float
    ttft_s: float
    time_to_first_token_s: float
    total_s: float
    prompt_tokens: int
    prefilled_before_final: int = 0
    invalidated_tokens: int = 0
    reused_tokens: int = 0


class RagAnswer(BaseModel):
    """An answer and what it rests on.

    Attributes:
        text: The generated text.
        documents: The documents in the prompt, in prompt order.
        left_out: Retrieved documents that did not fit into the prompt.
        timing: Where the time went.
        token_ids: The generated tokens.
        finish_reason: Why generation ended: ``"stop"`` or ``"length"``.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    documents: tuple[Document, ...]
    left_out: tuple[Document, ...] = ()
    timing: RagTiming
    token_ids: tuple[int, ...]
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ContextReceived:
    """The source delivered an event; its tokens are on their way to the engine."""

    event: Append | Update


@dataclass(frozen=True, slots=True)
class ContextFinal:
    """The context is complete: the documents in the prompt, in prompt order."""

    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete; always the last event."""

    answer: RagAnswer


RagEvent: TypeAlias = ContextReceived | ContextFinal | Token | Finished
