"""One request to the engine, from messages to chunks."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.outputs import ChatResult

from langchain_stream2llm._chunks import finished_chunk, usage_metadata
from langchain_stream2llm._live_prompt import find_live_prompt
from langchain_stream2llm._messages import as_conversation
from langchain_stream2llm._requests import plan, prompt_ids
from langchain_stream2llm._writer import AnswerWriter
from stream2llm_engine.errors import DeadlineExceededError, SessionTimeoutError
from stream2llm_rag.deadlines import within
from stream2llm_rag.prompt import PromptAssembler, send_delta, split_chat_template

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from langchain_core.outputs import ChatGenerationChunk

    from langchain_stream2llm._live_prompt import LivePrompt
    from langchain_stream2llm._requests import Plan, Request
    from stream2llm_engine import StreamEngine, StreamSession

__all__ = ["NumberedChunk", "answer", "collected"]


class _Prompt(NamedTuple):
    """The tokens of the whole prompt, those that the session does not have yet, and a report."""

    ids: list[int]
    rest: list[int]
    report: dict[str, Any]


class NumberedChunk(NamedTuple):
    """A chunk, and which of the answers to one request it belongs to."""

    number: int
    chunk: ChatGenerationChunk


def collected(chunks: Iterable[NumberedChunk]) -> ChatResult:
    """Puts answers together; the first one has the usage of all of them."""
    by_number: defaultdict[int, list[ChatGenerationChunk]] = defaultdict(list)
    for number, chunk in chunks:
        by_number[number].append(chunk)
    results = [generate_from_stream(iter(by_number[number])) for number in sorted(by_number)]
    return ChatResult(generations=[result.generations[0] for result in results])


async def answer(engine: StreamEngine, request: Request) -> AsyncGenerator[NumberedChunk, None]:
    """Answers a request; closing the generator aborts it.

    Raises:
        DeadlineExceededError: The engine's deadline passed, waiting for the context included.
        SessionTimeoutError: There was no complete answer in time.
        Stream2LLMError: Whatever the engine or the chat template refuses.
    """
    await engine.start()
    planned, prompt = await asyncio.to_thread(_prepare, engine.tokenizer, request)
    chunks = _decode(engine, request, planned, prompt)
    async with aclosing(_in_time(chunks, request)) as in_time:
        async for chunk in in_time:
            yield chunk


def _in_time(
    chunks: AsyncGenerator[NumberedChunk, None], request: Request
) -> AsyncGenerator[NumberedChunk, None]:
    late = f"no complete answer within {request.timeout_s} s; raise `timeout` or lower `max_tokens`"
    chunks = within(chunks, request.timeout_s, SessionTimeoutError(late))
    deadline_s = request.scheduling.get("deadline_s")
    # The engine keeps it as well, but cannot end the wait for a retriever.
    late = (
        f"no complete answer within {deadline_s} s; raise `deadline_s`, or bound the retriever by"
        " `with_time_limit`"
    )
    return within(chunks, deadline_s, DeadlineExceededError(late))


def _prepare(tokenizer: Any, request: Request) -> tuple[Plan, _Prompt | None]:
    """Does what needs no engine; the prompt only if it is there."""
    planned = plan(tokenizer, request)
    if find_live_prompt(request.messages) is not None:
        return planned, None
    ids = prompt_ids(tokenizer, request.messages, request.template_kwargs)
    return planned, _Prompt(ids, ids, {})


async def _decode(
    engine: StreamEngine, request: Request, planned: Plan, prompt: _Prompt | None
) -> AsyncGenerator[NumberedChunk, None]:
    session = await engine.open_session(lora=planned.lora, **request.scheduling)
    async with session:
        if prompt is None:
            prompt = await _feed(session, engine.tokenizer, request)
        writers: dict[int, AnswerWriter] = {}
        async with aclosing(session.finalize(prompt.rest, planned.params)) as outputs:
            async for output in outputs:
                if output.index not in writers:
                    writers[output.index] = AnswerWriter(
                        planned.rules.reader(prompt.ids) if planned.rules else None,
                        top_logprobs=planned.params.logprobs,
                    )
                chunk = writers[output.index].write(output)
                if chunk is not None:
                    yield NumberedChunk(output.index, chunk)
        for last in _last_chunks(writers, session, request, prompt.report):
            yield last


def _last_chunks(
    writers: dict[int, AnswerWriter],
    session: StreamSession,
    request: Request,
    report: dict[str, Any],
) -> list[NumberedChunk]:
    counts = [writer.reasoning_tokens for writer in writers.values()]
    known = [count for count in counts if count is not None]
    usage = usage_metadata(session.stats, sum(known) if len(known) == len(counts) else None)
    return [
        NumberedChunk(
            number,
            finished_chunk(
                writer.last,
                finish_reason=writer.finish_reason,
                model=request.model,
                report={**asdict(session.stats), **report},
                usage=usage if number == 0 else None,
            ),
        )
        for number, writer in sorted(writers.items())
        if writer.last is not None
    ]


async def _feed(session: StreamSession, tokenizer: Any, request: Request) -> _Prompt:
    """Sends the context while it arrives, all but what comes behind it."""
    live = find_live_prompt(request.messages)
    assert live is not None
    started = time.monotonic()
    assembler = _assembler(live, tokenizer, request)
    if assembler.prefix_ids:
        await session.append(assembler.prefix_ids)
    async for event in live.context:
        await send_delta(session, assembler.apply(event))
    report = {
        "retrieval_s": time.monotonic() - started,
        "document_ids": [document.id for document in assembler.documents],
    }
    return _Prompt(assembler.final_ids(), assembler.suffix_ids, report)


def _assembler(live: LivePrompt, tokenizer: Any, request: Request) -> PromptAssembler:
    prefix, suffix = split_chat_template(
        tokenizer, as_conversation(live.prompt.messages), **request.template_kwargs
    )
    context_format = live.prompt.context_format
    # The documents already come in prompt order, which is the order any other model sees.
    return PromptAssembler(
        tokenizer,
        prefix,
        suffix,
        context_format.render,
        order="rank",
        separator=context_format.separator,
    )
