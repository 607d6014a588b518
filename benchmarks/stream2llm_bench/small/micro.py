"""Small measurements of the engine: events and idle sessions.

python -m stream2llm_bench.small.micro [--quick]
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from stream2llm_bench.measuring_process import MeasuringProcess
from stream2llm_bench.results import MicroResult
from stream2llm_bench.small.event_cost import event_costs, planning_delays
from stream2llm_bench.small.idle_sessions import (
    IdleSessions,
    active_steps,
    fit_memory,
    session_growth,
    touch_pool,
)
from stream2llm_bench.small.planning_clock import PlanningClock
from stream2llm_bench.small.standalone import standalone
from stream2llm_engine import EngineConfig, StreamEngine

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MicroSettings", "measure"]

_BLOCK_TOKENS = 32
# For what is not idle, and the block that vLLM keeps for itself.
_SPARE_BLOCKS = 256
_ENOUGH_BYTES = 4 * 2**30
_OPEN_AT_ONCE = 50

_Answer: TypeAlias = Callable[[str], Awaitable[list[MicroResult]]]


@dataclass(frozen=True, kw_only=True)
class MicroSettings:
    """How much to measure.

    Attributes:
        planned_events: Events on an idle engine.
        bursts: Repetitions of events back to back.
        burst_events: Events of one of them.
        burst_tokens: Tokens of one of these events.
        memory_rounds: Pairs of measurements of memory.
        memory_sessions: Sessions of one measurement.
        memory_warm_up: Sessions of each length before the first of them.
        idle_counts: Numbers of idle sessions beside an active one, growing.
        active_repeats: Events of the active session for each of them.
        idle_tokens: Tokens of an idle session, and of the shorter ones for the fit.
        own_tokens: Those of them that only one session has; they fit into one block with what is
            left of the shared ones.
    """

    planned_events: int
    bursts: int
    burst_events: int = 100
    burst_tokens: int = 8
    memory_rounds: int
    memory_sessions: int
    memory_warm_up: int = 50
    idle_counts: tuple[int, ...]
    active_repeats: int
    idle_tokens: tuple[int, int] = (200, 2_000)
    own_tokens: int = 8

    @property
    def pool_blocks(self) -> int:
        """KV blocks: every idle session keeps what is its own, so that none is evicted."""
        for_memory = 2 * (self.memory_warm_up + self.memory_rounds * self.memory_sessions)
        shared = sum(self.idle_tokens) // _BLOCK_TOKENS
        needed = max(for_memory, *self.idle_counts) + shared + _SPARE_BLOCKS
        # Open sessions leave the policy's reserve to others.
        return math.ceil(needed / (1.0 - PlanningClock.reserve))

    @classmethod
    def usual(cls, *, quick: bool) -> MicroSettings:
        """Return the settings of ``stream2llm bench``."""
        if quick:
            return cls(
                planned_events=50,
                bursts=5,
                memory_rounds=1,
                memory_sessions=250,
                idle_counts=(0, 500),
                active_repeats=20,
            )
        return cls(
            planned_events=200,
            bursts=20,
            memory_rounds=3,
            memory_sessions=300,
            idle_counts=(0, 500, 5_000),
            active_repeats=50,
        )


def measure(
    model: Path,
    *,
    quick: bool,
    on_progress: Callable[[str], None],
    settings: MicroSettings | None = None,
) -> list[MicroResult]:
    """Measure on one engine in a process of its own.

    Args:
        model: Directory of the model.
        quick: Fewer repetitions and sessions.
        on_progress: Called with what is being done.
        settings: Instead of the usual ones.

    Raises:
        MeasurementError: The engine failed.
    """
    settings = settings or MicroSettings.usual(quick=quick)
    results: list[MicroResult] = []
    on_progress("small measurements: starting stream2llm")
    with MeasuringProcess(_engine, model, settings) as process:
        process.start()
        for what in _MEASUREMENTS:
            on_progress(f"small measurements: {what}")
            results += process.ask(what)
    return results


@asynccontextmanager
async def _engine(model: Path, settings: MicroSettings) -> AsyncIterator[_Answer]:
    config = EngineConfig(
        model=str(model),
        policy=PlanningClock,
        vllm={
            "dtype": "bfloat16",
            "enforce_eager": True,
            "max_model_len": 4096,
            "max_num_batched_tokens": 512,
            "block_size": _BLOCK_TOKENS,
            # As many blocks as are wanted, however large the model makes them.
            "num_gpu_blocks_override": settings.pool_blocks,
            "kv_cache_memory_bytes": _ENOUGH_BYTES,
        },
    )
    async with StreamEngine(config) as engine:

        async def answer(what: str) -> list[MicroResult]:
            return await _MEASUREMENTS[what](engine, settings)

        # The first steps are slow.
        await active_steps(engine, 10)
        yield answer


async def _events(engine: StreamEngine, settings: MicroSettings) -> list[MicroResult]:
    delays = await planning_delays(engine, settings.planned_events)
    costs, accepted = await event_costs(
        engine, settings.bursts, settings.burst_events, settings.burst_tokens
    )
    burst: dict[str, float | str] = {
        "events": settings.burst_events,
        "tokens": settings.burst_tokens,
    }
    return [
        MicroResult(name="event_to_prefill_s", unit="s", samples=delays),
        MicroResult(name="event_cost_s", unit="s", samples=costs, parameters=burst),
        MicroResult(name="event_accept_s", unit="s", samples=accepted, parameters=burst),
    ]


async def _memory(engine: StreamEngine, settings: MicroSettings) -> list[MicroResult]:
    idle = IdleSessions(engine, own_tokens=settings.own_tokens)
    # Memory of the pool is taken where KV is first written, which is not to be seen here.
    await touch_pool(engine)
    short, long = settings.idle_tokens
    for tokens in (short, long):
        await idle.open(settings.memory_warm_up, tokens)
    fits = []
    for _ in range(settings.memory_rounds):
        of_short = await session_growth(idle, settings.memory_sessions, short)
        of_long = await session_growth(idle, settings.memory_sessions, long)
        fits.append(fit_memory((short, of_short), (long, of_long)))
    await idle.close()
    parameters: dict[str, float | str] = {
        "short_tokens": short,
        "long_tokens": long,
        "sessions": settings.memory_sessions,
        **_pool(settings),
    }
    return [
        MicroResult(
            name="idle_session_bytes",
            unit="bytes",
            samples=[fit.session_bytes for fit in fits],
            parameters=parameters,
        ),
        MicroResult(
            name="idle_token_bytes",
            unit="bytes",
            samples=[fit.token_bytes for fit in fits],
            parameters=parameters,
        ),
    ]


async def _beside_idle_sessions(engine: StreamEngine, settings: MicroSettings) -> list[MicroResult]:
    idle = IdleSessions(engine, own_tokens=settings.own_tokens)
    tokens = settings.idle_tokens[1]
    results = []
    for count in settings.idle_counts:
        await idle.open(count - len(idle), tokens, at_once=_OPEN_AT_ONCE)
        results.append(
            MicroResult(
                name="active_step_s",
                unit="s",
                samples=await active_steps(engine, settings.active_repeats),
                parameters={"idle_sessions": count, "idle_tokens": tokens, **_pool(settings)},
            )
        )
    await idle.close()
    return results


def _pool(settings: MicroSettings) -> dict[str, float | str]:
    return {"pool_blocks": settings.pool_blocks, "pool": "holds the KV of all idle sessions"}


_MEASUREMENTS: dict[str, Callable[[StreamEngine, MicroSettings], Awaitable[list[MicroResult]]]] = {
    "events": _events,
    "memory of idle sessions": _memory,
    "an active session beside idle ones": _beside_idle_sessions,
}


if __name__ == "__main__":
    standalone(measure)
