"""The pipeline on real vLLM: same tokens as blocking, and prefill really overlaps retrieval."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from stream2llm_engine import (
    DeadlineExceededError,
    EngineConfig,
    SamplingParams,
    StreamEngine,
)
from stream2llm_rag import Append, ContextReceived, Document, RagPrompt, StreamingRAG, Token, Update
from stream2llm_rag.sources import from_retriever, replay
from tests.rag.builders import append, update

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
async def engine(tiny_llama: Path) -> AsyncIterator[StreamEngine]:
    config = EngineConfig(
        model=str(tiny_llama),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 2048,
            "kv_cache_memory_bytes": 64 * 2**20,
        },
    )
    async with StreamEngine(config) as started:
        yield started


def long(name: str) -> Document:
    text = f"The capital of {name} is {name}ville and its river is {name}stream. " * 6
    return Document(id=name, text=text)


EVENTS: list[Append | Update] = [
    Append(documents=(long("a"), long("b"))),
    Append(documents=(long("c"),)),
    Update(documents=(long("c"), long("d"), long("a"))),
]


@pytest.mark.parametrize("order", ["stable", "rank"])
async def test_streaming_and_blocking_give_the_same_answer(
    engine: StreamEngine, order: str
) -> None:
    prompt = RagPrompt.model_validate({"order": order})
    greedy = SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True)
    source = replay([(0.05, event) for event in EVENTS])
    streamed, blocking = [
        await StreamingRAG(
            engine, source, prompt, sampling_params=greedy, blocking=blocking
        ).answer("What is the capital of a?")
        for blocking in (False, True)
    ]
    assert streamed.token_ids == blocking.token_ids
    assert len(streamed.token_ids) == 24
    assert streamed.documents == blocking.documents
    assert streamed.timing.prompt_tokens == blocking.timing.prompt_tokens
    assert blocking.timing.prefilled_before_final == 0


async def test_context_is_computed_before_it_is_final(engine: StreamEngine) -> None:
    source = replay([(0.0, EVENTS[0]), (1.0, Append(documents=(long("late"),)))])
    answer = await StreamingRAG(engine, source).answer("What is the river of b?")
    prompt_tokens = answer.timing.prompt_tokens
    assert prompt_tokens / 3 < answer.timing.prefilled_before_final < prompt_tokens
    assert answer.timing.retrieval_s >= 0.95
    assert 0 < answer.timing.ttft_s < answer.timing.time_to_first_token_s


async def test_an_update_throws_computed_tokens_away(engine: StreamEngine) -> None:
    source = replay([(0.0, EVENTS[0]), (1.0, Update(documents=(long("b"),)))])
    answer = await StreamingRAG(engine, source).answer("What is the river of b?")
    assert answer.timing.invalidated_tokens > 0
    assert [document.id for document in answer.documents] == ["b"]


async def test_many_questions_share_the_engine(engine: StreamEngine) -> None:
    async def answer(number: int) -> tuple[int, ...]:
        events: list[Append | Update] = [append(f"{number}-{part}") for part in range(4)]
        events.append(update(f"{number}-0", f"{number}-3"))
        source = replay([(0.01, event) for event in events])
        rag = StreamingRAG(engine, source, sampling_params=SamplingParams(max_tokens=8))
        return (await rag.answer(f"Question {number}?")).token_ids

    answers = await asyncio.gather(*(answer(number) for number in range(6)))
    assert all(answers)
    stats = await engine.stats()
    assert stats.open_sessions == 0


async def test_the_engine_knows_whose_a_question_is(engine: StreamEngine) -> None:
    class Looking:
        """Looks while the question is open."""

        open: dict[str, int] = {}  # noqa: RUF012 - replaced by each question

        async def stream(self, query: str) -> AsyncIterator[Append | Update]:
            yield EVENTS[0]
            tenants = (await engine.stats()).tenants
            self.open = {name: stats.open_sessions for name, stats in tenants.items()}

    source = Looking()
    rag = StreamingRAG(engine, source, tenant="gold", priority=1, deadline_s=60)
    await rag.answer("Q?")
    assert source.open["gold"] == 1
    await rag.answer("Q?", tenant="silver", priority=-1)
    assert (source.open["silver"], source.open.get("gold", 0)) == (1, 0)


@pytest.mark.parametrize("blocking", [False, True])
async def test_an_answer_that_is_late_is_a_typed_error(
    engine: StreamEngine, *, blocking: bool
) -> None:
    endless = SamplingParams(max_tokens=1500, ignore_eos=True)
    rag = StreamingRAG(engine, from_retriever(EVENTS), sampling_params=endless, blocking=blocking)
    with pytest.raises(DeadlineExceededError):
        await rag.answer("Q?", deadline_s=0.2)
    async with asyncio.timeout(30):
        while (stats := await engine.stats()).running or stats.open_sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_source_that_is_faster_than_the_engine_is_coalesced(engine: StreamEngine) -> None:
    names = "cdefghijklmnop"
    rankings: list[Append | Update] = [
        Update(documents=(long(name), *EVENTS[0].documents)) for name in names
    ]
    answers, events = [], []
    for coalesce in (False, True):
        rag = StreamingRAG(
            engine, from_retriever(rankings), RagPrompt(order="rank"), coalesce=coalesce
        )
        received = [event async for event in rag.stream("What is the river of p?")]
        events.append(sum(isinstance(event, ContextReceived) for event in received))
        answers.append(received[-1].answer)  # type: ignore[union-attr]
    assert events[0] == len(names)
    assert events[1] < 5
    assert answers[0].token_ids == answers[1].token_ids
    assert answers[0].documents == answers[1].documents


async def test_breaking_out_frees_the_engine(engine: StreamEngine) -> None:
    rag = StreamingRAG(engine, from_retriever(EVENTS))
    for stop_at in (ContextReceived, Token):
        async with aclosing(rag.stream("Q?")) as events:
            async for event in events:
                if isinstance(event, stop_at):
                    break
    async with asyncio.timeout(30):
        while (stats := await engine.stats()).running or stats.open_sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert stats.free_blocks == stats.total_blocks
