"""Recorded or generated retrievals, played back in time."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.events import Append, ContextEvent, Update
from stream2llm_rag.sources._protocol import ContextSource

__all__ = ["TimedEvent", "load_trace", "replay", "save_trace"]


class TimedEvent(NamedTuple):
    """An event and how many seconds after the one before, or after the query, it comes."""

    delay_s: float
    event: ContextEvent


_TRACE = TypeAdapter[list[TimedEvent]](list[TimedEvent])


def replay(
    trace: Iterable[tuple[float, Append | Update]], *, time_scale: float = 1.0
) -> ContextSource:
    """Plays a trace back, whatever the query.

    Args:
        trace: Pairs of seconds since the event before and the event.
        time_scale: Factor on all delays; 0 plays at once.
    """
    events = [TimedEvent(*step) for step in trace]
    if time_scale < 0 or any(step.delay_s < 0 for step in events):
        msg = "time_scale and every delay of a trace must be at least 0"
        raise ValueError(msg)
    return _Replayed(events, time_scale)


def load_trace(path: Path) -> list[TimedEvent]:
    """Reads a trace that ``save_trace`` wrote.

    Raises:
        ContextSourceError: The file cannot be read or is not a trace.
    """
    try:
        return _TRACE.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        msg = f"{path} is not a readable trace: {error}"
        raise ContextSourceError(msg) from error


def save_trace(path: Path, trace: Iterable[tuple[float, Append | Update]]) -> None:
    """Writes a trace as JSON."""
    path.write_bytes(_TRACE.dump_json([TimedEvent(*step) for step in trace], indent=1))


class _Replayed:
    def __init__(self, trace: Sequence[TimedEvent], time_scale: float) -> None:
        self._trace = trace
        self._time_scale = time_scale

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        del query
        loop = asyncio.get_running_loop()
        # Against the clock, so that a slow consumer does not stretch the trace.
        due = loop.time()
        for delay_s, event in self._trace:
            due += delay_s * self._time_scale
            await asyncio.sleep(max(0.0, due - loop.time()))
            yield event

    def __repr__(self) -> str:
        return f"replay({len(self._trace)} events)"
