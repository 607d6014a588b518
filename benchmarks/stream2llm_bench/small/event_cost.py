"""What an event costs: until its prefill starts, all in all, and for whoever sends it."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from stream2llm_bench.measuring_process import MeasurementError
from stream2llm_bench.small.planning_clock import PlanningClock

if TYPE_CHECKING:
    from stream2llm_engine import StreamEngine, StreamSession

__all__ = ["event_costs", "planning_delays"]

_PROMPT = list(range(5, 205))
_EVENT_TOKENS = 32
_EVENTS_PER_SESSION = 50
# Long enough for the engine to be asleep again.
_PAUSE_S = 0.005


async def planning_delays(engine: StreamEngine, events: int) -> list[float]:
    """Return the seconds from sending an event to the start of the step that prefills it.

    The engine is idle before each event, and its policy is :class:`PlanningClock`.

    Raises:
        MeasurementError: The engine was not idle.
    """
    delays: list[float] = []
    while len(delays) < events:
        async with await engine.open_session(_PROMPT) as session:
            await session.wait_prefilled()
            for _ in range(min(_EVENTS_PER_SESSION, events - len(delays))):
                await asyncio.sleep(_PAUSE_S)
                delays.append(await _planning_delay(engine, session))
    return delays


async def _planning_delay(engine: StreamEngine, session: StreamSession) -> float:
    before = await engine.stats()
    await asyncio.sleep(_PAUSE_S)
    PlanningClock.latest.clear()
    sent_s = time.perf_counter()
    await session.append(_PROMPT[:_EVENT_TOKENS])
    await session.wait_prefilled()
    planned = [
        (when_s, view)
        for when_s, view in PlanningClock.latest
        if view.request_id == session.id and view.remaining_tokens == _EVENT_TOKENS
    ]
    after = await engine.stats()
    computed = after.tokens["computed"] - before.tokens["computed"]
    if len(planned) != 1 or computed != _EVENT_TOKENS:
        msg = (
            f"an event of {_EVENT_TOKENS} tokens was planned {len(planned)} times as a whole, and "
            f"the engine computed {computed} tokens: something else is using it"
        )
        raise MeasurementError(msg)
    return planned[0][0] - sent_s


async def event_costs(
    engine: StreamEngine, repeats: int, events: int, tokens: int
) -> tuple[list[float], list[float]]:
    """Send events back to back and wait until they are computed.

    Args:
        engine: Idle before each repetition.
        repeats: How often.
        events: Events of one repetition.
        tokens: Tokens of an event.

    Returns:
        Seconds of each repetition divided by its events, and seconds of each single call.
    """
    costs: list[float] = []
    accepted: list[float] = []
    for _ in range(repeats):
        async with await engine.open_session(_PROMPT) as session:
            await session.wait_prefilled()
            await asyncio.sleep(_PAUSE_S)
            marks_s = [time.perf_counter()]
            for _ in range(events):
                await session.append(_PROMPT[:tokens])
                marks_s.append(time.perf_counter())
            await session.wait_prefilled()
            costs.append((time.perf_counter() - marks_s[0]) / events)
        accepted += [b - a for a, b in pairwise(marks_s)]
    return costs, accepted
