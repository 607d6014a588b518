import asyncio
from pathlib import Path

import pytest

from stream2llm_rag import Append, ContextSourceError, Update
from stream2llm_rag.sources import TimedEvent, load_trace, replay, save_trace
from tests.rag.builders import append, update

TRACE: list[tuple[float, Append | Update]] = [
    (0.2, append("a")),
    (0.2, append("b")),
    (0.2, update("b")),
]


async def played(trace: list[tuple[float, Append | Update]], time_scale: float) -> list[float]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    return [loop.time() - start async for _ in replay(trace, time_scale=time_scale).stream("q")]


async def test_events_come_with_their_delays_scaled() -> None:
    slow, fast = await played(TRACE, 0.5), await played(TRACE, 0)
    assert all(time >= due * 0.95 for time, due in zip(slow, (0.1, 0.2, 0.3), strict=True))
    assert fast[-1] < slow[-1]


async def test_a_slow_consumer_does_not_stretch_the_trace() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    async for _ in replay(TRACE).stream("q"):
        await asyncio.sleep(0.19)
    assert loop.time() - start < 3 * 0.39


def test_a_trace_survives_a_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    save_trace(path, TRACE)
    assert load_trace(path) == [TimedEvent(*step) for step in TRACE]


@pytest.mark.parametrize("content", ["", "{}", '[[1, {"kind": "retract", "documents": []}]]'])
def test_what_is_not_a_trace(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(content)
    with pytest.raises(ContextSourceError, match="trace"):
        load_trace(path)


def test_a_missing_trace(tmp_path: Path) -> None:
    with pytest.raises(ContextSourceError, match="missing"):
        load_trace(tmp_path / "missing.json")


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        replay([(-1.0, append("a"))])
    with pytest.raises(ValueError, match="at least 0"):
        replay(TRACE, time_scale=-1)
