"""What idle sessions cost: memory, and the pace of an active one beside them."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil

from stream2llm_bench.measuring_process import MeasurementError

if TYPE_CHECKING:
    from stream2llm_engine import StreamEngine, StreamSession

__all__ = [
    "IdleSessions",
    "MemoryFit",
    "active_steps",
    "fit_memory",
    "session_growth",
    "touch_pool",
]

# Python keeps one object for each small integer, so a list of these costs its pointers only.
_SMALLEST, _TOKENS = 5, 245
_ACTIVE_TOKENS = 2_000
_EVENT_TOKENS = 32
_FILL_TOKENS = 1_024


def _prompt(tokens: int, shared: int, number: int) -> list[int]:
    """Return a prompt whose first ``shared`` tokens are those of every other prompt."""
    own: list[int] = []
    rest = number
    while len(own) < tokens - shared:
        rest, digit = divmod(rest, _TOKENS)
        own.append(_SMALLEST + digit)
    return [_SMALLEST + i % _TOKENS for i in range(shared)] + own


class IdleSessions:
    """Open sessions that wait for their next event; all but the end of their prompts is the same.

    Args:
        engine: Where they are open.
        own_tokens: Last tokens of each prompt, which no other one has.
    """

    def __init__(self, engine: StreamEngine, *, own_tokens: int) -> None:
        self._engine = engine
        self._own_tokens = own_tokens
        self._sessions: list[StreamSession] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(self, count: int, tokens: int, *, at_once: int = 1) -> None:
        """Open more and wait until they are idle.

        Args:
            count: How many.
            tokens: Tokens of each prompt.
            at_once: How many are computed together.

        Raises:
            MeasurementError: The KV pool is too small to hold them.
        """
        evicted = (await self._engine.stats()).evicted_blocks
        left = count
        while left > 0:
            batch = []
            # The first one computes what the others share.
            for _ in range(1 if left == count else min(left, at_once)):
                prompt = _prompt(tokens, tokens - self._own_tokens, self._number)
                batch.append(await self._engine.open_session(prompt))
                self._number += 1
            for session in batch:
                await session.wait_prefilled()
            self._sessions += batch
            left -= len(batch)
        if (await self._engine.stats()).evicted_blocks > evicted:
            msg = "the KV pool does not hold all idle sessions: make it larger"
            raise MeasurementError(msg)

    async def close(self) -> None:
        """Abort all of them."""
        for session in self._sessions:
            await session.abort()
        self._sessions.clear()
        await self._engine.stats()  # the aborts are done when this is answered
        gc.collect()


async def touch_pool(engine: StreamEngine) -> None:
    """Write to every block of the KV pool."""
    from stream2llm_engine import SamplingParams

    stats = await engine.stats()
    params = SamplingParams(max_tokens=1, ignore_eos=True)
    rng = np.random.default_rng(0)
    for _ in range(0, stats.total_blocks * stats.block_size, _FILL_TOKENS):
        prompt = (_SMALLEST + rng.integers(_TOKENS, size=_FILL_TOKENS)).tolist()
        async for _ in engine.generate(prompt, params):
            pass


async def active_steps(engine: StreamEngine, repeats: int) -> list[float]:
    """Return the seconds that an active session's events take until they are computed."""
    times_s: list[float] = []
    async with await engine.open_session(_prompt(_ACTIVE_TOKENS, 0, 0)) as session:
        for index in range(-3, repeats):
            await session.wait_prefilled()
            await asyncio.sleep(0.002)
            started_s = time.perf_counter()
            await session.append(_prompt(_EVENT_TOKENS, 0, index + 3))
            await session.wait_prefilled()
            if index >= 0:
                times_s.append(time.perf_counter() - started_s)
    return times_s


async def session_growth(idle: IdleSessions, count: int, tokens: int) -> float:
    """Open sessions and return by how many bytes each made this process larger.

    One after the other: the kernels of a batch keep memory for every number of tokens that they see
    for the first time.
    """
    before = _resident_bytes()
    await idle.open(count, tokens)
    return (_resident_bytes() - before) / count


def _resident_bytes() -> int:
    """Return the resident memory of this process, without what is free and only kept for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


@dataclass(frozen=True, kw_only=True)
class MemoryFit:
    """Bytes of an idle session: so many, and so many more for each token."""

    session_bytes: float
    token_bytes: float


def fit_memory(short: tuple[int, float], long: tuple[int, float]) -> MemoryFit:
    """Return the line through two measurements, each ``(tokens, bytes of a session)``."""
    slope = (long[1] - short[1]) / (long[0] - short[0])
    return MemoryFit(session_bytes=short[1] - slope * short[0], token_bytes=slope)
