"""Hundreds of sessions with random operations, cancels and aborts on a pool for about two."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING

import pytest

from stream2llm_engine import SamplingParams, StreamEngine
from tests.engine.conftest import small_engine_config

if TYPE_CHECKING:
    from pathlib import Path

    from stream2llm_engine import StreamSession
    from stream2llm_engine.preemption import PreemptionMode
    from tests.support.reference import Reference

pytestmark = pytest.mark.engine

SESSIONS = 200
AT_ONCE = 12
PARAMS = {"max_tokens": 3, "temperature": 0.0, "logprobs": 0, "ignore_eos": True}


def document(seed: int, length: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(5, 399) for _ in range(length)]


async def one_session(
    engine: StreamEngine, seed: int
) -> tuple[list[int], list[int], list[float]] | None:
    """Run a session to its answer, or leave it in one of many ways; return the answer if any."""
    dice = random.Random(seed)
    session = await engine.open_session(document(dice.randrange(30), dice.randrange(1, 250)))
    for _ in range(dice.randrange(5)):
        addition = document(dice.randrange(30), dice.randrange(1, 180))
        if dice.random() < 0.5:
            await session.append(addition)
        else:
            kept = session.prompt_token_ids
            await session.update(kept[: dice.randrange(len(kept) + 1)] + addition)
        await asyncio.sleep(dice.choice([0, 0.01, 0.05, 0.1]))
    ending = dice.random()
    if ending < 0.1:
        await session.abort()
        return None
    if ending < 0.2:
        return None  # dropped
    return await answered(session, dice, cut=ending < 0.35)


async def answered(
    session: StreamSession, dice: random.Random, *, cut: bool
) -> tuple[list[int], list[int], list[float]] | None:
    last = document(dice.randrange(100), dice.randrange(0, 12))
    prompt = session.prompt_token_ids + last
    tokens: list[int] = []
    logprobs: list[float] = []
    async for out in session.finalize(last, SamplingParams(**PARAMS)):
        if cut:
            return None
        tokens += out.token_ids
        logprobs += [entry[out.token_ids[i]].logprob for i, entry in enumerate(out.logprobs or [])]
    return prompt, tokens, logprobs


@pytest.mark.parametrize("preemption", ["recompute", "swap", "auto"])
@pytest.mark.parametrize("policy", ["fcfs", "lcas", "mcps", "srpt"])
async def test_hundreds_of_sessions(
    tiny_llama: Path, reference: Reference, policy: str, preemption: PreemptionMode
) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    # The integrations keep a loop for the life of the process, once another test has used it.
    threads_before = set(threading.enumerate())
    # Host memory for 24 blocks, less than the pool, so that it fills up too.
    engine = StreamEngine(
        small_engine_config(tiny_llama, policy=policy, preemption=preemption, host_blocks=24)
    )

    async def guarded(seed: int) -> tuple[list[int], list[int], list[float]] | None:
        async with slots:
            if seed % 17 == 3:
                try:
                    return await asyncio.wait_for(one_session(engine, seed), 0.02)
                except TimeoutError:
                    return None
            return await one_session(engine, seed)

    async with engine:
        results = await asyncio.gather(*(guarded(seed) for seed in range(SESSIONS)))
        await engine.stats()
        await engine.check_integrity()
        stats = await engine.stats()
        assert stats.open_sessions == stats.running == stats.waiting == 0
        assert stats.free_blocks == stats.total_blocks
        assert stats.evicted_blocks > 0
        if preemption != "auto":
            assert (stats.preemptions["swap"] > 0) == (preemption == "swap")
        assert stats.preemptions["builtin"] == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    started = set(threading.enumerate()) - threads_before
    assert [t.name for t in started if t.name.startswith("stream2llm")] == []
    answers = [result for result in results if result is not None]
    assert len(answers) > SESSIONS / 2
    expected = reference.answer([prompt for prompt, _, _ in answers], **PARAMS)
    for (_, tokens, logprobs), one_shot in zip(answers, expected, strict=True):
        assert tokens == one_shot["token_ids"]
        assert logprobs == pytest.approx(one_shot["logprobs"], abs=1e-4)
