"""Retrieval, prefill and decoding of one question, overlapped."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from stream2llm_engine.outputs import SessionStats, StreamOutput
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.live import LiveContext
from stream2llm_rag.pipeline._engine import Engine
from stream2llm_rag.pipeline._events import (
    ContextFinal,
    ContextReceived,
    Finished,
    RagAnswer,
    RagEvent,
    RagTiming,
    Token,
)
from stream2llm_rag.pipeline._feed import Feed, OneShotFeed, SessionFeed
from stream2llm_rag.prompt import PromptAssembler, RagPrompt
from stream2llm_rag.sources import ContextSource, events_of

__all__ = ["StreamingRAG"]

_DEFAULT_MAX_TOKENS = 256


class StreamingRAG:
    """Answers questions from a context source, prefilling while the source still delivers.

    Safe to share between concurrent questions.

    Args:
        engine: A ``stream2llm_engine.StreamEngine``.
        source: Where the context comes from; ``from_retriever`` makes one of any retriever.
        prompt: The prompt; ``RagPrompt()`` by default.
        sampling_params: vLLM's ``SamplingParams``; greedy with at most 256 tokens by default.
        max_prompt_tokens: Bound of the prompt; documents that do not fit are left out, which the
            answer records. By default what the engine takes, less the answer's ``max_tokens``.
        tenant: Whose share of the engine the questions use.
        blocking: Wait for the whole context, then send one ordinary request. The tokens are the
            same; this is the baseline to compare with.
    """

    def __init__(
        self,
        engine: Engine,
        source: ContextSource,
        prompt: RagPrompt | None = None,
        *,
        sampling_params: Any = None,
        max_prompt_tokens: int | None = None,
        tenant: str = "default",
        blocking: bool = False,
    ) -> None:
        self._engine = engine
        self._source = source
        self._prompt = prompt or RagPrompt()
        self._sampling_params = sampling_params
        self._max_prompt_tokens = max_prompt_tokens
        self._tenant = tenant
        self._blocking = blocking

    async def answer(self, question: str, *, deadline_s: float | None = None) -> RagAnswer:
        """Answers ``question``; see ``stream`` for the errors."""
        async with aclosing(self.stream(question, deadline_s=deadline_s)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.answer
        raise AssertionError("the stream ended without an answer")

    async def stream(
        self, question: str, *, deadline_s: float | None = None
    ) -> AsyncGenerator[RagEvent, None]:
        """Answers ``question``, event by event; ``Finished`` is the last one.

        A consumer that stops early ends the request in the engine and the source's work. The
        context goes to the engine as it comes, however slowly the events are consumed.

        Args:
            question: The question, which is also the query to the source.
            deadline_s: Seconds within which the answer is wanted, for the engine's scheduling.

        Raises:
            ContextSourceError: The source failed; the request is aborted first.
            PromptTemplateError: The model's chat template cannot hold the context.
            Stream2LLMError: Whatever the engine refuses or fails with.
        """
        await self._engine.start()
        clock = _Clock()
        sampling_params = self._sampling_params or _default_sampling_params()
        assembler = self._prompt.assembler(
            self._engine.tokenizer, question, max_prompt_tokens=self._room_for(sampling_params)
        )
        feed = await self._open_feed(assembler, deadline_s)
        live = LiveContext()
        pump = asyncio.create_task(
            _pump(self._source, question, feed, sampling_params, live, clock)
        )
        try:
            async for event in live:
                yield ContextReceived(event)
            outputs = await pump
            yield ContextFinal(assembler.documents)
            generated = _Generated()
            async for output in outputs:
                clock.first_token = clock.first_token or time.perf_counter()
                generated.add(output)
                if output.text:
                    yield Token(output.text)
            yield Finished(generated.answer(assembler, clock.timing(feed.stats())))
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            await feed.close()

    def _room_for(self, sampling_params: Any) -> int:
        if self._max_prompt_tokens is not None:
            return self._max_prompt_tokens
        return int(self._engine.max_prompt_tokens) + 1 - (sampling_params.max_tokens or 1)

    async def _open_feed(self, assembler: PromptAssembler, deadline_s: float | None) -> Feed:
        if self._blocking:
            return OneShotFeed(self._engine, assembler)
        return await SessionFeed.open(
            self._engine, assembler, tenant=self._tenant, deadline_s=deadline_s
        )


async def _pump(
    source: ContextSource,
    question: str,
    feed: Feed,
    sampling_params: Any,
    live: LiveContext,
    clock: "_Clock",
) -> AsyncIterator[StreamOutput]:
    """Feeds the engine at the source's pace; ``live`` carries the events to the consumer."""
    try:
        async with aclosing(events_of(source, question)) as events:
            async for event in events:
                await feed.send(event)
                live.put(event)
        outputs = feed.finish(sampling_params)
        clock.final = time.perf_counter()
    except asyncio.CancelledError:
        # By the consumer, who no longer listens, or inside the source, which must not hang it.
        live.close(ContextSourceError(f"context source {source!r} was cancelled"))
        raise
    except BaseException as error:
        live.close(error)
        raise
    live.close()
    return outputs


class _Clock:
    def __init__(self) -> None:
        self.question = time.perf_counter()
        self.final = 0.0
        self.first_token = 0.0

    def timing(self, stats: SessionStats) -> RagTiming:
        return RagTiming(
            retrieval_s=self.final - self.question,
            ttft_s=self.first_token - self.final,
            time_to_first_token_s=self.first_token - self.question,
            total_s=time.perf_counter() - self.question,
            prompt_tokens=stats.prompt_tokens,
            prefilled_before_final=stats.prefilled_before_final,
            invalidated_tokens=stats.invalidated_tokens,
            reused_tokens=stats.reused_tokens,
        )


class _Generated:
    def __init__(self) -> None:
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._finish_reason: str | None = None

    def add(self, output: StreamOutput) -> None:
        self._texts.append(output.text)
        self._token_ids.extend(output.token_ids)
        self._finish_reason = output.finish_reason or self._finish_reason

    def answer(self, assembler: PromptAssembler, timing: RagTiming) -> RagAnswer:
        return RagAnswer(
            text="".join(self._texts),
            documents=assembler.documents,
            left_out=assembler.left_out,
            timing=timing,
            token_ids=tuple(self._token_ids),
            finish_reason=self._finish_reason,
        )


def _default_sampling_params() -> Any:
    from stream2llm_engine import SamplingParams

    return SamplingParams(temperature=0.0, max_tokens=_DEFAULT_MAX_TOKENS)
