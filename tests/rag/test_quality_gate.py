"""The quality gate: on held-out questions, streaming answers what blocking answers.

The shipped reader knows no facts, so every right answer was read from the context, and an answer
from a document that an update took back would show stale KV.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine
from stream2llm_rag import Append, Document, RagAnswer, StreamingRAG, Update
from stream2llm_rag.cli._model import reader
from stream2llm_rag.reader import Fact, World, WorldDocument
from stream2llm_rag.sources import replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

QUESTIONS = 200
DOCUMENTS = 6
AT_ONCE = 12
Trace = list[tuple[float, Append | Update]]


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[StreamEngine]:
    model = reader()
    # A pool for about five of the prompts that are under way at once.
    vllm = {**model.vllm, "max_model_len": 2048, "kv_cache_memory_bytes": 20 * 2**20}
    async with StreamEngine(EngineConfig(model=model.name, vllm=vllm)) as started:
        yield started
        await started.check_integrity()


def as_documents(documents: Sequence[WorldDocument]) -> tuple[Document, ...]:
    return tuple(Document(id=d.id, text=d.text, metadata={"title": d.title}) for d in documents)


def append_trace(seed: int) -> tuple[Trace, Fact, set[str]]:
    """Documents in pages of one to three; nothing is taken back."""
    dice = random.Random(seed)
    world = World(seed=10_000 + seed, entities=DOCUMENTS)
    documents = as_documents(world.documents)
    trace: Trace = []
    at = 0
    while at < len(documents):
        size = dice.randint(1, 3)
        trace.append((dice.random() * 0.02, Append(documents=documents[at : at + size])))
        at += size
    return trace, dice.choice(world.facts), set()


def update_trace(seed: int) -> tuple[Trace, Fact, set[str]]:
    """Ranked lists that get better; the document asked about first comes in an older version."""
    dice = random.Random(seed)
    world = World(seed=20_000 + seed, entities=DOCUMENTS)
    old = dice.choice(world.documents)
    new = world.revise(old)
    others = [d for d in world.documents if d is not old]
    first = [*others[:3], old]
    dice.shuffle(first)
    second = [*others[1:4], old]
    dice.shuffle(second)
    last = [*others, new]
    dice.shuffle(last)
    trace: Trace = [
        (dice.random() * 0.02, Update(documents=as_documents(ranked)))
        for ranked in (first, second, last)
    ]
    fact = dice.choice(new.facts)
    return trace, fact, {f.value for f in old.facts} - {f.value for f in new.facts}


async def ask(engine: StreamEngine, trace: Trace, fact: Fact, *, blocking: bool) -> RagAnswer:
    rag = StreamingRAG(
        engine,
        replay(trace, time_scale=0.0 if blocking else 1.0),
        reader().prompt,
        sampling_params=SamplingParams(temperature=0.0, max_tokens=32),
        blocking=blocking,
    )
    return await rag.answer(fact.question)


@pytest.mark.parametrize("make", [append_trace, update_trace], ids=["append", "update"])
async def test_streaming_answers_what_blocking_answers(engine: StreamEngine, make: object) -> None:
    assert callable(make)
    slots = asyncio.Semaphore(AT_ONCE)
    cases: list[tuple[Trace, Fact, set[str]]] = [make(seed) for seed in range(QUESTIONS)]

    async def both(trace: Trace, fact: Fact) -> tuple[RagAnswer, RagAnswer]:
        async with slots:
            streamed = await ask(engine, trace, fact, blocking=False)
            return streamed, await ask(engine, trace, fact, blocking=True)

    answers = await asyncio.gather(*(both(trace, fact) for trace, fact, _ in cases))
    different = [
        (fact.question, streamed.text, blocking.text)
        for (_, fact, _), (streamed, blocking) in zip(cases, answers, strict=True)
        if streamed.token_ids != blocking.token_ids
    ]
    assert different == []
    right = sum(
        fact.statement == streamed.text.strip()
        for (_, fact, _), (streamed, _) in zip(cases, answers, strict=True)
    )
    assert right >= 0.9 * QUESTIONS
    for (_, fact, taken_back), (streamed, _) in zip(cases, answers, strict=True):
        stale = [value for value in taken_back if f" {value}." in streamed.text]
        assert stale == [], f"{fact.question} was answered from a document that was taken back"
    before_final = sum(streamed.timing.prefilled_before_final for streamed, _ in answers)
    assert before_final > 0
