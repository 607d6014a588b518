"""One answer of the engine, piece by piece."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.llms.stream2llm._pieces import Piece, Pieces
from stream2llm_engine.answers import AnswerDelta
from stream2llm_engine.errors import DeadlineExceededError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from llama_index.llms.stream2llm._prompts import Prompt
    from stream2llm_engine import SamplingParams, StreamEngine, StreamSession
    from stream2llm_engine.answers import AnswerFormat

__all__ = ["Request", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the model.

    Attributes:
        prompt: What to answer.
        sampling_params: How to decode.
        answer_format: How the answer is to be written, and how to read it.
        model: Name of the model for metadata.
        tenant: Whose share of the engine the call uses.
        priority: The smallest goes first.
        lora: Directory of the LoRA adapter to answer with, or vLLM's ``LoRARequest``.
        timeout_s: Bound of the whole call, retrieval included, loading the model not.
    """

    prompt: Prompt
    sampling_params: SamplingParams
    answer_format: AnswerFormat
    model: str
    tenant: str = "default"
    priority: int = 0
    lora: Any = None
    timeout_s: float | None = None


async def answer(engine: StreamEngine, request: Request) -> AsyncGenerator[Piece, None]:
    """Answers a request; closing the generator aborts it.

    Raises:
        DeadlineExceededError: The answer was not complete in time.
        Stream2LLMError: Whatever the engine or the chat template refuses, or a retriever that
            fails while its nodes are awaited.
    """
    await engine.start()
    rules = await asyncio.to_thread(_rules, engine, request)
    session = await engine.open_session(
        tenant=request.tenant,
        deadline_s=request.timeout_s,
        lora=_lora_request(request.lora),
        priority=request.priority,
    )
    async with session:
        token_ids = await _sent(request, session, engine)
        outputs = session.finalize(token_ids, request.sampling_params)
        reader = rules.reader(session.prompt_token_ids) if rules is not None else None
        pieces = Pieces(request.model)
        async with aclosing(outputs):
            async for output in outputs:
                delta = AnswerDelta(text=output.text) if reader is None else reader.read(output)
                stats = None
                if output.finish_reason is not None:
                    stats = asdict(session.stats) | request.prompt.details()
                piece = pieces.after(delta, output, stats)
                if delta or stats is not None:
                    yield piece


async def _sent(request: Request, session: StreamSession, engine: StreamEngine) -> list[int]:
    """Sends the prompt as it arrives and returns the tokens that complete it."""
    limit = asyncio.timeout(request.timeout_s)
    try:
        async with limit:
            return await request.prompt.send(session, engine.tokenizer, _room(engine, request))
    except TimeoutError as error:
        if not limit.expired():
            raise
        msg = (
            f"the prompt was not complete within {request.timeout_s} s: raise `timeout`, or give"
            " the retriever a limit of its own with `with_time_limit`"
        )
        raise DeadlineExceededError(msg) from error


def _room(engine: StreamEngine, request: Request) -> int:
    """Longest prompt that leaves room for the answer, in tokens."""
    window = engine.max_prompt_tokens + 1
    room = window - (request.sampling_params.max_tokens or 1)
    return min(room, engine.config.max_session_tokens or window)


def _rules(engine: StreamEngine, request: Request) -> Any:
    if request.answer_format.is_plain:
        return None
    from stream2llm_engine.vllm_adapter.answer_parsing import AnswerRules

    rules = AnswerRules(engine.tokenizer, request.answer_format)
    rules.constrain(request.sampling_params)
    return rules


def _lora_request(lora: Any) -> Any:
    if not isinstance(lora, str | Path):
        return lora
    from stream2llm_engine.vllm_adapter.lora import lora_request

    return lora_request(lora)
