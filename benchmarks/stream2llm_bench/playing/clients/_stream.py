"""Our engine."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stream2llm_bench.playing.clients._base import Client, QueryTimes, UnansweredError, sleep_until
from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine

if TYPE_CHECKING:
    from stream2llm_bench.playing.clients._base import EngineSize
    from stream2llm_engine import StreamSession
    from stream2llm_engine.simulator import SimulatedQuery

__all__ = ["StreamClient"]

_IDLE_S = 0.2


class StreamClient(Client):
    """Sessions that take the context as it comes.

    Args:
        engine: A running engine.
    """

    def __init__(self, engine: StreamEngine) -> None:
        self._engine = engine

    @classmethod
    async def start(
        cls, size: EngineSize, *, policy: str, preemption: Any, profile: str | None
    ) -> StreamClient:
        """Start an engine.

        Args:
            size: What all systems have in common.
            policy: Name or import path of the policy.
            preemption: What happens to evicted KV.
            profile: Prices of the hardware; ``None``: learned.
        """
        engine = StreamEngine(
            EngineConfig(
                model=size.model,
                policy=policy,
                preemption=preemption,
                profile=profile,
                vllm=size.vllm_arguments(),
            )
        )
        await engine.start()
        return cls(engine)

    async def answer(self, query: SimulatedQuery, started_s: float) -> QueryTimes:
        """Play one query; see :meth:`Client.answer`."""
        due_s = started_s + query.arrival_s
        session = await self._opened(query)
        last = len(query.events) - 1
        tokens: list[int] = []
        watched: list[asyncio.Task[tuple[float, float]]] = []
        for index, event in enumerate(query.events):
            due_s += event.delay_s
            await sleep_until(due_s)
            tokens = event.token_ids
            if index == last and not event.replace:
                break
            if event.replace:
                await session.update(tokens)
                tokens = []
            elif tokens:
                await session.append(tokens)
            if index < last:
                watched.append(asyncio.create_task(_prefilled(session)))
        times = QueryTimes(due_s=due_s)
        params = SamplingParams(
            max_tokens=query.output_tokens, temperature=0, ignore_eos=True, detokenize=False
        )
        async for out in session.finalize(tokens + query.question, params):
            times.token_s += [time.perf_counter()] * len(out.token_ids)
        if len(times.token_s) < query.output_tokens:
            raise UnansweredError(query.query_id)
        ended = await asyncio.gather(*watched, return_exceptions=True)
        times.prefills_s = [span for span in ended if isinstance(span, tuple)]
        return times

    async def on_idle_machine(self, query: SimulatedQuery) -> float:
        """Return the seconds from the last event to the first token with nothing else to do.

        Everything before the last event is in place by then, and has been for a moment: a processor
        that has just computed is faster than one that waited for retrieval.
        """
        session = await self._opened(query)
        tokens: list[int] = []
        for index, event in enumerate(query.events):
            tokens = event.token_ids
            if index == len(query.events) - 1:
                break
            await (session.update(tokens) if event.replace else _append(session, tokens))
            await session.wait_prefilled()
        await asyncio.sleep(_IDLE_S)
        began_s = time.perf_counter()
        if query.events[-1].replace:
            await session.update(tokens)
            tokens = []
        params = SamplingParams(max_tokens=1, temperature=0, ignore_eos=True, detokenize=False)
        async for _ in session.finalize(tokens + query.question, params):
            pass
        return time.perf_counter() - began_s

    async def forget(self) -> None:
        """Empty the prefix cache."""
        await self._engine.reset_prefix_cache()

    async def counters(self) -> dict[str, Any]:
        """Return the engine's counters; see :class:`stream2llm_engine.EngineStats`."""
        return asdict(await self._engine.stats())

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.aclose()

    async def _opened(self, query: SimulatedQuery) -> StreamSession:
        return await self._engine.open_session(tenant=query.tenant)


async def _append(session: StreamSession, tokens: list[int]) -> None:
    if tokens:
        await session.append(tokens)


async def _prefilled(session: StreamSession) -> tuple[float, float]:
    began_s = time.perf_counter()
    await session.wait_prefilled()
    return began_s, time.perf_counter()
