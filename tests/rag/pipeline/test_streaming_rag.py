import asyncio
import copy
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from stream2llm_engine.errors import PromptTooLongError
from stream2llm_rag import Append, ContextSourceError, PromptTemplateError, RagPrompt, Update
from stream2llm_rag.pipeline import (
    ContextFinal,
    ContextReceived,
    Finished,
    RagEvent,
    StreamingRAG,
    Token,
)
from stream2llm_rag.sources import from_retriever
from tests.rag.builders import append, documents, update
from tests.rag.pipeline.fake_engine import FakeEngine

EVENTS: list[Append | Update] = [append("a", "b"), append("c"), update("d", "c")]
SAMPLING = SimpleNamespace(max_tokens=16)


@pytest.fixture
def engine(chat_tokenizer: PreTrainedTokenizerFast) -> FakeEngine:
    return FakeEngine(chat_tokenizer)


def rag(engine: FakeEngine, source: Any = EVENTS, **options: Any) -> StreamingRAG:
    return StreamingRAG(engine, from_retriever(source), sampling_params=SAMPLING, **options)


async def test_the_events_of_one_question(engine: FakeEngine) -> None:
    events: list[RagEvent] = [event async for event in rag(engine).stream("Q?")]
    *context, final, first, second, finished = events
    assert context == [ContextReceived(event) for event in EVENTS]
    assert final == ContextFinal(documents("c", "d"))
    assert (first, second) == (Token("one"), Token(" two"))
    assert isinstance(finished, Finished)
    answer = finished.answer
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("one two", (1, 2, 3), "stop")
    assert answer.documents == documents("c", "d")


async def test_blocking_sends_the_same_tokens(engine: FakeEngine) -> None:
    streamed = await rag(engine).answer("Q?")
    blocking = await rag(engine, blocking=True).answer("Q?")
    (session,), (prompt,) = engine.sessions, engine.prompts
    assert session.finalized
    assert session.tokens == prompt
    assert (streamed.text, streamed.documents) == (blocking.text, blocking.documents)
    assert blocking.timing.prompt_tokens == len(prompt)


async def test_the_timing_adds_up(engine: FakeEngine) -> None:
    async def slow(query: str) -> AsyncIterator[Append | Update]:
        await asyncio.sleep(0.05)
        yield EVENTS[0]

    timing = (await rag(engine, slow).answer("Q?")).timing
    assert timing.retrieval_s >= 0.045
    assert timing.time_to_first_token_s == pytest.approx(timing.retrieval_s + timing.ttft_s)
    assert timing.total_s >= timing.time_to_first_token_s


async def test_left_out_documents_are_reported(
    engine: FakeEngine, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    bound = len(RagPrompt().assembler(chat_tokenizer, "Q?").one_shot_ids(documents("a")))
    answers = [
        await rag(engine, max_prompt_tokens=bound, blocking=blocking).answer("Q?")
        for blocking in (False, True)
    ]
    assert engine.sessions[0].tokens == engine.prompts[0]
    for answer in answers:
        assert len(answer.documents) == 1
        assert {document.id for document in (*answer.documents, *answer.left_out)} == {"c", "d"}


@pytest.mark.parametrize("spare", [0, -1])
async def test_by_default_the_prompt_leaves_room_for_the_answer(
    engine: FakeEngine, chat_tokenizer: PreTrainedTokenizerFast, spare: int
) -> None:
    fits = len(RagPrompt().assembler(chat_tokenizer, "Q?").one_shot_ids(documents("c", "d")))
    engine.max_prompt_tokens = fits + SAMPLING.max_tokens - 1 + spare
    answer = await rag(engine).answer("Q?")
    assert bool(answer.left_out) == (spare < 0)


async def test_context_reaches_the_engine_however_slow_the_consumer_is(engine: FakeEngine) -> None:
    async with aclosing(rag(engine).stream("Q?")) as events:
        assert await anext(events) == ContextReceived(EVENTS[0])
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert engine.sessions[0].finalized


class Watched:
    """A source that never finishes and tells when it is closed."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        try:
            yield EVENTS[0]
            self.waiting.set()
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def break_out(engine: FakeEngine, source: Watched) -> None:
    async with aclosing(StreamingRAG(engine, source, sampling_params=SAMPLING).stream("Q?")) as it:
        async for _ in it:
            break


async def drop(engine: FakeEngine, source: Watched) -> None:
    events = StreamingRAG(engine, source, sampling_params=SAMPLING).stream("Q?")
    await anext(events)
    del events
    gc.collect()
    await asyncio.sleep(0.01)


async def cancel(engine: FakeEngine, source: Watched) -> None:
    answer = StreamingRAG(engine, source, sampling_params=SAMPLING).answer("Q?")
    task = asyncio.create_task(answer)
    await source.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("stop", [break_out, drop, cancel])
async def test_a_consumer_that_stops_ends_session_and_source(
    engine: FakeEngine, stop: Callable[[FakeEngine, Watched], Any]
) -> None:
    source = Watched()
    before = asyncio.all_tasks()
    await stop(engine, source)
    assert source.closed.is_set()
    assert engine.sessions[0].aborted
    assert asyncio.all_tasks() == before


async def failing(query: str) -> AsyncIterator[Append | Update]:
    yield EVENTS[0]
    raise ConnectionError("index is down")


async def cancelled_inside(query: str) -> AsyncIterator[Append | Update]:
    yield EVENTS[0]
    raise asyncio.CancelledError


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("source", [failing, cancelled_inside])
async def test_a_failing_source_is_a_typed_error_after_aborting(
    engine: FakeEngine, source: Any, *, blocking: bool
) -> None:
    with pytest.raises(ContextSourceError, match=r"failing|cancelled"):
        await asyncio.wait_for(rag(engine, source, blocking=blocking).answer("Q?"), timeout=20)
    assert all(session.aborted for session in engine.sessions)
    assert engine.prompts == []


async def test_an_engine_error_passes_unchanged_and_stops_the_source(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    engine = FakeEngine(chat_tokenizer, fail_on_append=PromptTooLongError("too long"))
    source = Watched()
    with pytest.raises(PromptTooLongError, match="too long"):
        await StreamingRAG(engine, source, sampling_params=SAMPLING).answer("Q?")
    assert source.closed.is_set()
    assert engine.sessions[0].aborted


async def test_a_prompt_without_prefix_can_lose_all_documents(
    plain_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer = copy.deepcopy(plain_tokenizer)
    tokenizer.bos_token = None
    prompt = RagPrompt(system="", instructions="")
    engine = FakeEngine(tokenizer)
    events = [append("a"), update(), append("b")]
    await rag(engine, events, prompt=prompt).answer("Q?")
    assert engine.sessions[-1].tokens == prompt.assembler(tokenizer, "Q?").one_shot_ids(
        documents("b")
    )
    assert all(session.aborted for session in engine.sessions)


async def test_a_document_that_does_not_fit_the_template(engine: FakeEngine) -> None:
    prompt = RagPrompt(document_template="{text} {metadata[page]}")
    with pytest.raises(PromptTemplateError, match="page"):
        await rag(engine, prompt=prompt).answer("Q?")
    assert engine.sessions[0].aborted
