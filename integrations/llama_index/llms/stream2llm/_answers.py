"""One answer of the engine, piece by piece, with what LlamaIndex wants to know about it."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from llama_index.llms.stream2llm._prompts import Prompt
    from stream2llm_engine import SamplingParams, StreamEngine, StreamOutput

__all__ = ["Piece", "Request", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the model.

    Attributes:
        prompt: What to answer.
        sampling_params: How to decode.
        model: Name of the model for metadata.
        tenant: Whose share of the engine the call uses.
    """

    prompt: Prompt
    sampling_params: SamplingParams
    model: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Piece:
    """An answer as far as it goes; only the last piece has ``raw`` and ``usage``."""

    text: str = ""
    delta: str = ""
    raw: dict[str, Any] | None = None
    usage: dict[str, int] = field(default_factory=dict)

    def as_chat(self) -> ChatResponse:
        """Converts to a chat response."""
        return ChatResponse(
            message=ChatMessage(role=MessageRole.ASSISTANT, content=self.text),
            delta=self.delta,
            raw=self.raw,
            additional_kwargs=self.usage,
        )

    def as_completion(self) -> CompletionResponse:
        """Converts to a completion."""
        return CompletionResponse(
            text=self.text, delta=self.delta, raw=self.raw, additional_kwargs=self.usage
        )


async def answer(engine: StreamEngine, request: Request) -> AsyncGenerator[Piece, None]:
    """Answers a request; closing the generator aborts it.

    Raises:
        Stream2LLMError: Whatever the engine or the chat template refuses, or a retriever that
            fails while its nodes are awaited.
    """
    await engine.start()
    room = engine.max_prompt_tokens + 1 - (request.sampling_params.max_tokens or 1)
    async with await engine.open_session(tenant=request.tenant) as session:
        token_ids = await request.prompt.send(session, engine.tokenizer, room)
        text = ""
        async with aclosing(session.finalize(token_ids, request.sampling_params)) as outputs:
            async for output in outputs:
                text += output.text
                if output.finish_reason is not None:
                    stats = asdict(session.stats) | request.prompt.details()
                    yield _last_piece(text, output, request.model, stats)
                elif output.text:
                    yield Piece(text, output.text)


def _last_piece(text: str, output: StreamOutput, model: str, stats: dict[str, Any]) -> Piece:
    usage = {
        "prompt_tokens": stats["prompt_tokens"],
        "completion_tokens": stats["output_tokens"],
        "total_tokens": stats["prompt_tokens"] + stats["output_tokens"],
    }
    raw = {
        "model": model,
        "finish_reason": output.finish_reason,
        "stop_reason": output.stop_reason,
        "usage": usage,
        "stream2llm": stats,
    }
    return Piece(text, output.text, raw, usage)
