"""Playing a trace; the system is a fake that answers after a given time."""

from __future__ import annotations

import asyncio
import time

from stream2llm_bench.playing.clients import Client, QueryTimes, UnansweredError
from stream2llm_bench.playing.player import ResourceMeter, play
from stream2llm_engine.simulator import PromptEvent, SimulatedQuery


class FakeClient(Client):
    """Answers with two tokens, ``delay_s`` after the context is final."""

    def __init__(self, delay_s: dict[str, float]) -> None:
        self._delay_s = delay_s
        self.cancelled: list[str] = []

    async def answer(self, query: SimulatedQuery, started_s: float) -> QueryTimes:
        delay_s = self._delay_s[query.query_id]
        if delay_s < 0:
            raise UnansweredError(query.query_id)
        try:
            await asyncio.sleep(query.final_s + delay_s)
        except asyncio.CancelledError:
            self.cancelled.append(query.query_id)
            raise
        now_s = time.perf_counter()
        return QueryTimes(due_s=started_s + query.final_s, token_s=[now_s, now_s + 0.01])

    async def forget(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


def trace(*names: str) -> list[SimulatedQuery]:
    return [
        SimulatedQuery(
            query_id=name,
            arrival_s=0.01 * number,
            events=[PromptEvent(delay_s=0.01, token_ids=[1, 2])],
        )
        for number, name in enumerate(names)
    ]


async def test_times_are_in_the_order_of_arrival() -> None:
    client = FakeClient({"a": 0.05, "b": 0.0})
    seen: list[int] = []
    played = await play(client, trace("a", "b"), patience_s=5.0, on_answer=seen.append)
    first, second = played.times
    assert first is not None
    assert second is not None
    assert first.token_s[0] > second.token_s[0]
    assert played.ended_s == first.token_s[-1]
    assert played.problems == []
    assert seen == [1, 2]


async def test_who_never_answers_is_given_up_and_loses_nobody_else() -> None:
    client = FakeClient({"a": 0.0, "b": 3600.0})
    played = await play(client, trace("a", "b"), patience_s=0.1)
    assert played.times[0] is not None
    assert played.times[1] is None
    assert client.cancelled == ["b"]
    (problem,) = played.problems
    assert "1 queries unanswered" in problem


async def test_a_failed_query_is_told() -> None:
    played = await play(FakeClient({"a": 0.0, "b": -1.0}), trace("a", "b"), patience_s=5.0)
    assert played.times[1] is None
    assert played.problems == ["UnansweredError('b')"]


def test_the_meter_counts_cpu_time_and_memory() -> None:
    with ResourceMeter() as meter:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
    assert meter.cpu_s > 0.02
    assert meter.peak_memory_mib > 10
