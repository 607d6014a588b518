"""One request to the engine, from messages to chunks."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_stream2llm._chunks import last_chunk, text_chunk
from langchain_stream2llm._live_prompt import find_live_prompt
from langchain_stream2llm._messages import as_conversation
from stream2llm_engine.errors import SessionTimeoutError
from stream2llm_rag.prompt import (
    PromptAssembler,
    render_chat_template,
    send_delta,
    split_chat_template,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk

    from langchain_stream2llm._live_prompt import LivePrompt
    from stream2llm_engine import SamplingParams, StreamEngine, StreamSession

__all__ = ["Request", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the model.

    Attributes:
        messages: The conversation; it may carry a live prompt.
        model: Name of the model for metadata.
        sampling_params: How to decode.
        tenant: Whose share of the engine the call uses.
        template_kwargs: Variables for the chat template.
        timeout_s: Bound of the whole call, retrieval included, loading the model not.
    """

    messages: Sequence[BaseMessage]
    model: str
    sampling_params: SamplingParams
    tenant: str
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None


async def answer(
    engine: StreamEngine, request: Request
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """Answers a request; closing the generator aborts it.

    Raises:
        SessionTimeoutError: The answer was not finished in time.
        Stream2LLMError: Whatever the engine or the chat template refuses.
    """
    await engine.start()
    timeout = request.timeout_s
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    async with aclosing(_chunks(engine, request)) as chunks:
        while True:
            # Around one step only: a limit that spans a yield would cancel the consumer.
            limit = asyncio.timeout_at(deadline)
            try:
                async with limit:
                    chunk = await anext(chunks, None)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                msg = (
                    f"no complete answer within {timeout} s; raise `timeout` or lower `max_tokens`"
                )
                raise SessionTimeoutError(msg) from error
            if chunk is None:
                return
            yield chunk


async def _chunks(
    engine: StreamEngine, request: Request
) -> AsyncGenerator[ChatGenerationChunk, None]:
    live = find_live_prompt(request.messages)
    async with await engine.open_session(tenant=request.tenant) as session:
        details: dict[str, Any] = {}
        if live is None:
            token_ids = _prompt_ids(engine.tokenizer, request)
        else:
            token_ids = await _feed(session, live, engine.tokenizer, request, details)
        outputs = session.finalize(token_ids, request.sampling_params)
        async with aclosing(outputs):
            async for output in outputs:
                if output.finish_reason is not None:
                    yield last_chunk(output, session.stats, model=request.model, details=details)
                elif output.text:
                    yield text_chunk(output)


def _prompt_ids(tokenizer: Any, request: Request) -> list[int]:
    conversation = as_conversation(request.messages)
    text = render_chat_template(tokenizer, conversation, **request.template_kwargs)
    return list(tokenizer.encode(text, add_special_tokens=False))


async def _feed(
    session: StreamSession,
    live: LivePrompt,
    tokenizer: Any,
    request: Request,
    details: dict[str, Any],
) -> list[int]:
    """Sends the context while it arrives and returns the tokens that come behind it."""
    started = time.monotonic()
    prompt = live.prompt
    prefix, suffix = split_chat_template(
        tokenizer, as_conversation(prompt.messages), **request.template_kwargs
    )
    context_format = prompt.context_format
    # The documents already come in prompt order, which is the order any other model sees.
    assembler = PromptAssembler(
        tokenizer,
        prefix,
        suffix,
        context_format.render,
        order="rank",
        separator=context_format.separator,
    )
    if assembler.prefix_ids:
        await session.append(assembler.prefix_ids)
    async for event in live.context:
        await send_delta(session, assembler.apply(event))
    details["retrieval_s"] = time.monotonic() - started
    details["document_ids"] = [document.id for document in assembler.documents]
    return assembler.suffix_ids
