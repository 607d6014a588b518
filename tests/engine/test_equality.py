"""Whatever happens to a session, its answer is that of stock vLLM on the final prompt."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stream2llm_engine import SamplingParams

if TYPE_CHECKING:
    from stream2llm_engine import StreamEngine
    from tests.support.reference import Reference

pytestmark = pytest.mark.engine

SESSIONS = 8
LIMIT = 500
TOKENS = 4
TOLERANCE = 1e-4
PARAMS = {"max_tokens": TOKENS, "temperature": 0.0, "logprobs": 0, "ignore_eos": True}


def document(seed: int, length: int) -> list[int]:
    """Tokens of a document; few seeds, so that sessions share prefixes and documents return."""
    generator = random.Random(seed)
    return [generator.randrange(5, 399) for _ in range(length)]


ids = st.builds(document, seed=st.integers(0, 9), length=st.integers(20, 160))


@dataclass(frozen=True)
class Event:
    """One thing that happens to a session, and how long it waits before."""

    kind: str
    keep: int
    tokens: list[int]
    pause: str


events = st.builds(
    Event,
    kind=st.sampled_from(["append", "update"]),
    keep=st.integers(0, LIMIT),
    tokens=ids,
    pause=st.sampled_from(["none", "yield", "prefilled", "moment"]),
)
plans = st.lists(
    st.tuples(ids, st.lists(events, max_size=4), st.lists(st.integers(5, 399), max_size=30)),
    min_size=SESSIONS,
    max_size=SESSIONS,
)


async def play(
    engine: StreamEngine, opening: list[int], steps: list[Event], last: list[int]
) -> tuple[list[int], list[int], list[float]]:
    """Run one session; return its final prompt, its answer and the answer's log-probabilities."""
    prompt = list(opening)
    async with await engine.open_session(opening) as session:
        for event in steps:
            if event.pause == "yield":
                await asyncio.sleep(0)
            elif event.pause == "moment":
                await asyncio.sleep(0.01)
            elif event.pause == "prefilled":
                # Under pressure an older session may keep the blocks until it is final.
                with suppress(TimeoutError):
                    await asyncio.wait_for(session.wait_prefilled(), 0.2)
            if event.kind == "append":
                addition = event.tokens[: LIMIT - len(prompt)]
                if addition:
                    prompt += addition
                    await session.append(addition)
            else:
                prompt = (prompt[: event.keep] + event.tokens)[:LIMIT]
                await session.update(prompt)
        prompt = prompt + last
        return prompt, *await collect(session.finalize(last, SamplingParams(**PARAMS)))


async def collect(stream: Any) -> tuple[list[int], list[float]]:
    tokens: list[int] = []
    logprobs: list[float] = []
    async for out in stream:
        tokens += out.token_ids
        logprobs += [entry[t].logprob for entry, t in zip(out.logprobs, out.token_ids, strict=True)]
    return tokens, logprobs


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(plan=plans)
def test_eight_sessions_at_once_equal_one_shot(
    engine: StreamEngine,
    reference: Reference,
    plan: list[tuple[list[int], list[Event], list[int]]],
) -> None:
    async def everyone() -> list[tuple[list[int], list[int], list[float]]]:
        return await asyncio.gather(*(play(engine, *one) for one in plan))

    results = engine.run(everyone())
    expected = reference.answer([prompt for prompt, _, _ in results], **PARAMS)
    for (_, tokens, logprobs), one_shot in zip(results, expected, strict=True):
        assert tokens == one_shot["token_ids"]
        assert logprobs == pytest.approx(one_shot["logprobs"], abs=TOLERANCE)
    engine.run(engine.check_integrity())


def test_one_changed_context_token_moves_the_answer(
    engine: StreamEngine, reference: Reference
) -> None:
    """The negative control: the comparison above can tell a stale token."""
    prompt = [5 + (i * 37) % 390 for i in range(300)]

    async def streamed() -> tuple[list[int], list[int], list[float]]:
        return await play(engine, prompt, [Event("append", 0, [7, 8], "prefilled")], [9])

    _, tokens, logprobs = engine.run(streamed())
    final = [*prompt, 7, 8, 9]
    changed = [*final]
    changed[150] += 1
    same, other = reference.answer([final, changed], **PARAMS)
    assert tokens == same["token_ids"]
    moved = abs(other["logprobs"][0] - logprobs[0]) if other["token_ids"][0] == tokens[0] else 1.0
    assert moved > 10 * TOLERANCE


def test_pressure_is_real(engine: StreamEngine, reference: Reference) -> None:
    """A younger final prompt evicts an older open one on this pool; both still equal one-shot."""
    before = engine.run(engine.stats())
    opening, changed = document(101, 680), [*document(101, 680)[:500], *document(102, 60)]

    async def both() -> list[tuple[list[int], list[int], list[float]]]:
        old = await engine.open_session(opening)
        await old.wait_prefilled()
        young = await play(engine, document(103, 600), [], [9])
        await old.append([7, 8])
        await old.wait_prefilled()
        await old.update(changed)
        answer = await collect(old.finalize([9], SamplingParams(**PARAMS)))
        return [young, ([*changed, 9], *answer)]

    results = engine.run(both())
    after = engine.run(engine.stats())
    assert sum(after.preemptions.values()) > sum(before.preemptions.values())
    assert after.evicted_blocks > before.evicted_blocks
    assert after.tokens["invalidated"] > before.tokens["invalidated"]
    expected = reference.answer([prompt for prompt, _, _ in results], **PARAMS)
    assert [tokens for _, tokens, _ in results] == [one["token_ids"] for one in expected]
