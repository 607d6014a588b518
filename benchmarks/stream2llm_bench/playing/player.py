"""Plays a trace to a running system: arrivals are never held up by slow answers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from stream2llm_bench.playing.clients import Client, QueryTimes
    from stream2llm_engine.simulator import SimulatedQuery

__all__ = ["Played", "ResourceMeter", "play"]

_SAMPLE_S = 0.25
_MIB = 2**20


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of a trace.

    Attributes:
        started_s: When it started, on ``time.perf_counter``.
        ended_s: When the last answer was complete, or nothing more was waited for.
        times: By query, in order of arrival; ``None`` for those without an answer.
        problems: What went wrong, each kind once.
        cpu_s: CPU time of this process and its children.
        peak_memory_mib: Their largest resident set, together.
    """

    started_s: float
    ended_s: float = 0.0
    times: list[QueryTimes | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    peak_memory_mib: float = 0.0


async def play(
    client: Client,
    queries: Sequence[SimulatedQuery],
    *,
    patience_s: float,
    on_answer: Callable[[int], None] = lambda _: None,
) -> Played:
    """Play a trace from now on.

    Args:
        client: Who answers.
        queries: The trace.
        patience_s: Seconds after the last context is final in which an answer has to come.
        on_answer: Called with the number of answers so far.
    """
    answered = 0

    async def one(query: SimulatedQuery) -> QueryTimes:
        nonlocal answered
        times = await client.answer(query, played.started_s)
        answered += 1
        on_answer(answered)
        return times

    with ResourceMeter() as meter:
        played = Played(started_s=time.perf_counter())
        tasks = [asyncio.create_task(one(query)) for query in queries]
        last_s = max(query.final_s for query in queries)
        done, pending = await asyncio.wait(tasks, timeout=last_s + patience_s)
        for task in pending:
            task.cancel()
        await asyncio.wait(tasks, timeout=_SAMPLE_S)
        played.ended_s = time.perf_counter()
    problems = {repr(task.exception()) for task in done if task.exception() is not None}
    if pending:
        problems.add(f"{len(pending)} queries unanswered {patience_s:.0f} s after the last event")
    played.problems = sorted(problems)
    played.times = [
        task.result() if task in done and task.exception() is None else None for task in tasks
    ]
    ends = [times.token_s[-1] for times in played.times if times is not None]
    if ends and not pending:
        played.ended_s = max(ends)
    played.cpu_s, played.peak_memory_mib = meter.cpu_s, meter.peak_memory_mib
    return played


class ResourceMeter:
    """CPU time and peak memory of this process and its children while it is entered."""

    def __init__(self) -> None:
        self._processes = [psutil.Process(os.getpid())]
        self._processes += self._processes[0].children(recursive=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.cpu_s = 0.0
        self.peak_memory_mib = 0.0

    def __enter__(self) -> Self:
        self.cpu_s = -self._cpu()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cpu_s += self._cpu()
        self._stop.set()
        self._thread.join()

    def _cpu(self) -> float:
        spent = [process.cpu_times() for process in self._alive()]
        return float(sum(times.user + times.system for times in spent))

    def _sample(self) -> None:
        while True:
            resident = sum(process.memory_info().rss for process in self._alive())
            self.peak_memory_mib = max(self.peak_memory_mib, resident / _MIB)
            if self._stop.wait(_SAMPLE_S):
                return

    def _alive(self) -> list[psutil.Process]:
        return [process for process in self._processes if process.is_running()]
