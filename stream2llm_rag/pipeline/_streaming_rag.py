"""Retrieval, prefill and decoding of one question, overlapped."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from stream2llm_engine.errors import DeadlineExceededError, UnsupportedFeatureError
from stream2llm_engine.outputs import SessionStats, StreamOutput
from stream2llm_rag.deadlines import within
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.events import Append, Update
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
from stream2llm_rag.pipeline._scheduling import Scheduling
from stream2llm_rag.pipeline._sending import sent
from stream2llm_rag.prompt import PromptAssembler, RagPrompt
from stream2llm_rag.sources import ContextSource

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
        priority: The smallest goes first, before turns of tenants and the engine's policy.
        deadline_s: Seconds within which an answer has to be complete, its retrieval included.
        coalesce: Send the next event only when the engine has computed the one before, and make
            one of what comes meanwhile: for sources that change their minds faster than the engine
            computes. ``ContextReceived`` then shows the events that were sent.
        blocking: Wait for the whole context, then send one ordinary request. The tokens are the
            same; this is the baseline to compare with.

    Raises:
        UnsupportedFeatureError: ``blocking`` questions with a priority, which ordinary requests
            do not have.
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
        priority: int = 0,
        deadline_s: float | None = None,
        coalesce: bool = False,
        blocking: bool = False,
    ) -> None:
        self._engine = engine
        self._source = source
        self._prompt = prompt or RagPrompt()
        self._sampling_params = sampling_params
        self._max_prompt_tokens = max_prompt_tokens
        self._coalesce = coalesce
        self._blocking = blocking
        self._scheduling = Scheduling(tenant=tenant, priority=priority, deadline_s=deadline_s)
        self._check(self._scheduling)

    async def answer(
        self,
        question: str,
        *,
        tenant: str | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
    ) -> RagAnswer:
        """Answers ``question``; see ``stream`` for the arguments and the errors."""
        events = self.stream(question, tenant=tenant, priority=priority, deadline_s=deadline_s)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    return event.answer
        raise AssertionError("the stream ended without an answer")

    async def stream(
        self,
        question: str,
        *,
        tenant: str | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
    ) -> AsyncGenerator[RagEvent, None]:
        """Answers ``question``, event by event; ``Finished`` is the last one.

        A consumer that stops early ends the request in the engine and the source's work. The
        context goes to the engine as it comes, however slowly the events are consumed.

        Args:
            question: The question, which is also the query to the source.
            tenant: Whose it is, if not that of all questions; so with the other two.
            priority: How urgent it is.
            deadline_s: Seconds within which the answer has to be complete, loading the model left
                out.

        Raises:
            ContextSourceError: The source failed; the request is aborted first.
            DeadlineExceededError: The answer was not complete in time.
            PromptTemplateError: The model's chat template cannot hold the context.
            Stream2LLMError: Whatever the engine refuses or fails with.
        """
        scheduling = self._scheduling.changed(tenant, priority, deadline_s)
        self._check(scheduling)
        await self._engine.start()
        late = DeadlineExceededError(
            f"no complete answer within {scheduling.deadline_s} s: raise `deadline_s`, or bound"
            " the source with `time_limit`"
        )
        events = within(self._events(question, scheduling), scheduling.deadline_s, late)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _events(
        self, question: str, scheduling: Scheduling
    ) -> AsyncGenerator[RagEvent, None]:
        clock = _Clock()
        sampling_params = self._sampling_params or _default_sampling_params()
        assembler = self._prompt.assembler(
            self._engine.tokenizer, question, max_prompt_tokens=self._room_for(sampling_params)
        )
        feed = await self._open_feed(assembler, scheduling)
        live = LiveContext()
        context = sent(self._source, question, feed, coalesced=self._coalesce)
        pump = asyncio.create_task(
            _pump(context, repr(self._source), feed, sampling_params, live, clock)
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

    async def _open_feed(self, assembler: PromptAssembler, scheduling: Scheduling) -> Feed:
        if self._blocking:
            return OneShotFeed(self._engine, assembler, scheduling.tenant)
        return await SessionFeed.open(self._engine, assembler, scheduling)

    def _check(self, scheduling: Scheduling) -> None:
        if self._blocking and scheduling.priority:
            msg = (
                "a blocking question is an ordinary request, which has no priority: leave"
                " `priority` or `blocking` out"
            )
            raise UnsupportedFeatureError(msg)


async def _pump(
    context: AsyncGenerator[Append | Update, None],
    source: str,
    feed: Feed,
    sampling_params: Any,
    live: LiveContext,
    clock: "_Clock",
) -> AsyncIterator[StreamOutput]:
    """Feeds the engine at the source's pace; ``live`` carries the events to the consumer."""
    try:
        async with aclosing(context):
            async for event in context:
                live.put(event)
        outputs = feed.finish(sampling_params)
        clock.final = time.perf_counter()
    except asyncio.CancelledError:
        # By the consumer, who no longer listens, or inside the source, which must not hang it.
        live.close(ContextSourceError(f"context source {source} was cancelled"))
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
