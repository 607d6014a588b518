"""What an application sees of a session, on a real engine."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING

import pytest

from stream2llm_engine import SamplingParams, SessionClosedError

if TYPE_CHECKING:
    from stream2llm_engine import StreamEngine

pytestmark = pytest.mark.engine


def tokens(count: int, seed: int = 0) -> list[int]:
    return [5 + (seed * 7919 + i * 31) % 390 for i in range(count)]


def greedy(max_tokens: int = 4) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)


async def ids_of(stream: object) -> list[int]:
    return [t async for out in stream for t in out.token_ids]  # type: ignore[attr-defined]


async def settled(engine: StreamEngine) -> None:
    """Wait until aborts that were only posted have been carried out."""
    await engine.stats()
    await engine.stats()


def test_context_is_prefilled_before_it_is_final(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(200))
        await session.wait_prefilled()
        await session.append(tokens(100, 1))
        await session.wait_prefilled()
        states = [str(session.state)]
        stream = session.finalize(tokens(8, 2), greedy())
        states.append(session.state)
        deltas = [out async for out in stream]
        states.append(session.state)
        assert states == ["open", "finalized", "finished"]
        assert deltas[-1].finish_reason == "length"
        assert "".join(d.text for d in deltas)
        assert {d.index for d in deltas} == {0}
        stats = session.stats
        assert stats.prompt_tokens == 308
        assert stats.prefilled_before_final == 299
        assert stats.output_tokens == 4
        assert stats.ttft_s is not None
        assert stats.time_to_first_token_s is not None
        assert 0 < stats.ttft_s <= stats.time_to_first_token_s

    engine.run(scenario())


def test_nothing_is_emitted_before_finalize(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(64))
        await session.wait_prefilled()
        assert session.stats.output_tokens == 0
        assert (await engine.stats()).running == 0
        await session.abort()

    engine.run(scenario())


def test_update_reports_what_it_threw_away(engine: StreamEngine) -> None:
    async def scenario() -> None:
        async with await engine.open_session(tokens(200)) as session:
            await session.wait_prefilled()
            await session.update(tokens(80) + tokens(60, 3))
            await session.wait_prefilled()
            assert session.stats.invalidated_tokens == 199 - 80
            assert session.stats.prompt_tokens == 140

    engine.run(scenario())


def test_a_session_opened_empty_starts_at_its_first_tokens(engine: StreamEngine) -> None:
    async def scenario() -> list[list[int]]:
        answers = []
        for first in ("append", "update", "finalize"):
            session = await engine.open_session()
            await session.wait_prefilled()
            rest = tokens(50)
            if first != "finalize":
                await getattr(session, first)(rest)
                rest = []
            answers.append(await ids_of(session.finalize(rest, greedy())))
        return answers

    first, second, third = engine.run(scenario())
    assert first == second == third


def test_finalize_is_sent_at_the_call(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(40))
        stream = session.finalize((), greedy())
        async with asyncio.timeout(20):
            while session.stats.ttft_s is None:  # noqa: ASYNC110 - the point is not to read it
                await asyncio.sleep(0.01)
        assert len(await ids_of(stream)) == 4

    engine.run(scenario())


def test_sampling_parameters_can_be_given_at_open(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(40), sampling_params=greedy(7))
        assert len(await ids_of(session.finalize())) == 7

    engine.run(scenario())


def test_the_callers_lists_are_never_changed(engine: StreamEngine) -> None:
    async def scenario() -> None:
        opening, more, question = tokens(40), tokens(40, 1), tokens(5, 2)
        copies = [list(opening), list(more), list(question)]
        session = await engine.open_session(opening)
        await session.append(more)
        await ids_of(session.finalize(question, greedy()))
        assert [opening, more, question] == copies

    engine.run(scenario())


@pytest.mark.parametrize("how", ["close", "drop", "cancel", "abort", "leave"])
def test_an_abandoned_answer_is_aborted(engine: StreamEngine, how: str) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(40))
        stream = session.finalize((), greedy(400))
        await anext(stream)
        if how == "close":
            await stream.aclose()
        elif how == "drop":
            del stream
            gc.collect()
        elif how == "cancel":
            consumer = asyncio.create_task(ids_of(stream))
            await asyncio.sleep(0.02)
            consumer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await consumer
        elif how == "abort":
            await session.abort()
            await session.abort()
        else:
            async with session:
                pass
        assert session.state == "aborted"
        await settled(engine)
        assert (await engine.stats()).running == 0

    engine.run(scenario())


def test_a_dropped_session_frees_its_blocks(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(300))
        await session.wait_prefilled()
        assert (await engine.stats()).open_sessions == 1
        del session
        gc.collect()
        await settled(engine)
        assert (await engine.stats()).open_sessions == 0

    engine.run(scenario())


def test_an_aborted_stream_ends_for_its_consumer(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(40))
        stream = session.finalize((), greedy(900))
        consumer = asyncio.create_task(ids_of(stream))
        await asyncio.sleep(0.02)
        await session.abort()
        assert len(await asyncio.wait_for(consumer, 5)) < 900

    engine.run(scenario())


def test_waiting_ends_when_the_session_does(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(tokens(900))
        waiter = asyncio.create_task(session.wait_prefilled())
        await asyncio.sleep(0)
        await session.abort()
        with pytest.raises(SessionClosedError, match="aborted"):
            await asyncio.wait_for(waiter, 5)
        await settled(engine)

    engine.run(scenario())


def test_sessions_from_many_threads_and_loops(engine: StreamEngine) -> None:
    answers: dict[int, list[int]] = {}

    async def one(seed: int) -> list[int]:
        session = await engine.open_session(tokens(60, seed))
        await session.append(tokens(60, seed + 1))
        return await ids_of(session.finalize(tokens(5), greedy()))

    def in_a_thread(seed: int) -> None:
        answers[seed] = asyncio.run(one(seed))

    threads = [threading.Thread(target=in_a_thread, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert answers[seed] == engine.run(one(seed))


def test_two_sessions_that_do_not_fit_together_both_finish(engine: StreamEngine) -> None:
    async def scenario() -> None:
        sessions = [await engine.open_session(tokens(700, seed)) for seed in range(2)]
        ordinary = engine.generate({"prompt_token_ids": tokens(64, 9)}, greedy())
        assert len(await asyncio.wait_for(ids_of(ordinary), 20)) == 4
        answers = await asyncio.wait_for(
            asyncio.gather(*(ids_of(s.finalize(tokens(3), greedy())) for s in sessions)), 30
        )
        assert [len(answer) for answer in answers] == [4, 4]

    engine.run(scenario())


def test_a_hundred_idle_sessions_cost_an_active_one_no_step(engine: StreamEngine) -> None:
    async def steps_of_one() -> int:
        before = (await engine.stats()).steps
        await ids_of(engine.generate({"prompt_token_ids": tokens(500, 77)}, greedy(8)))
        return (await engine.stats()).steps - before

    async def scenario() -> None:
        await engine.reset_prefix_cache()
        alone = await steps_of_one()
        # More than the pool holds: the youngest wait for blocks, and must not keep it busy either.
        idle = [await engine.open_session(tokens(12, seed)) for seed in range(100)]
        await idle[0].wait_prefilled()
        await asyncio.sleep(0.5)
        before = (await engine.stats()).steps
        await asyncio.sleep(0.2)
        assert (await engine.stats()).steps == before
        assert await steps_of_one() <= alone + 2
        for session in idle:
            await session.abort()
        await settled(engine)

    engine.run(scenario())


def test_generate_takes_prompts_as_vllm_does(engine: StreamEngine) -> None:
    text = "The capital of Zorland is"
    ids = engine.tokenizer(text)["input_ids"]

    async def scenario() -> list[list[int]]:
        prompts = (text, {"prompt": text}, ids, {"prompt_token_ids": ids})
        return [await ids_of(engine.generate(p, greedy())) for p in prompts]

    answers = engine.run(scenario())
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == 4


def test_generate_left_early_is_aborted(engine: StreamEngine) -> None:
    async def scenario() -> None:
        stream = engine.generate({"prompt_token_ids": tokens(40)}, greedy(400))
        await anext(stream)
        await stream.aclose()
        await settled(engine)
        assert (await engine.stats()).running == 0

    engine.run(scenario())


def test_a_finished_prefix_is_reused_by_the_next_turn(engine: StreamEngine) -> None:
    async def scenario() -> None:
        first = await engine.open_session(tokens(320, 50))
        answer = await ids_of(first.finalize((), greedy()))
        second = await engine.open_session([*tokens(320, 50), *answer])
        await second.wait_prefilled()
        assert second.stats.reused_tokens >= 288
        await second.abort()

    engine.run(scenario())
