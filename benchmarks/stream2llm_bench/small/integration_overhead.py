"""What an integration adds to an event: the same documents through it and straight into a session.

    python -m stream2llm_bench.small.integration_overhead [--quick]

Documents of a few words arrive back to back. What counts is the CPU time of the event loop's
thread: the engine has a thread of its own, and how many steps it makes of the same events depends
on how fast they come.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from stream2llm_bench.measuring_process import MeasurementError, MeasuringProcess
from stream2llm_bench.results import MicroResult
from stream2llm_bench.small.recorded_prompt import RecordedPrompt, RecordingEngine
from stream2llm_bench.small.standalone import standalone
from stream2llm_engine import EngineConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from stream2llm_bench.small.questions import Ask, Shelf
    from stream2llm_engine import StreamEngine

__all__ = ["OverheadSettings", "measure"]

# While a prompt is recorded: long enough that no two documents are sent as one.
_RECORDING_PAUSE_S = 0.005


@dataclass(frozen=True, kw_only=True)
class OverheadSettings:
    """How much to send.

    Attributes:
        documents: Documents of one question.
        repeats: Questions to each integration.
        max_model_len: Has to hold all documents.
    """

    documents: int
    repeats: int
    max_model_len: int = 4096

    @classmethod
    def usual(cls, *, quick: bool) -> OverheadSettings:
        """Return the settings of ``stream2llm bench``."""
        return cls(documents=50 if quick else 200, repeats=5 if quick else 20)


def measure(
    model: Path,
    *,
    quick: bool,
    on_progress: Callable[[str], None],
    settings: OverheadSettings | None = None,
) -> list[MicroResult]:
    """Measure every integration on one engine, in turn with the session operations it makes.

    Args:
        model: Directory of a model with a chat template.
        quick: Fewer documents and repetitions.
        on_progress: Called with what is being done.
        settings: Instead of the usual ones.

    Returns:
        For each integration the CPU seconds beyond those of the bare operations, by document.

    Raises:
        MeasurementError: The engine failed, or an integration did not send every document.
    """
    settings = settings or OverheadSettings.usual(quick=quick)
    on_progress("overhead of integrations: starting stream2llm")
    samples: dict[str, list[float]] = {}
    with MeasuringProcess(_integrations, model, settings) as process:
        process.start()
        for repeat in range(settings.repeats):
            on_progress(f"overhead of integrations: repetition {repeat + 1} of {settings.repeats}")
            for name, seconds in process.ask(repeat).items():
                samples.setdefault(name, []).append(seconds / settings.documents)
    return [
        MicroResult(
            name=f"{name}_event_overhead_s",
            unit="s",
            samples=of_it,
            parameters={"documents": settings.documents},
        )
        for name, of_it in samples.items()
    ]


@asynccontextmanager
async def _integrations(
    model: Path, settings: OverheadSettings
) -> AsyncIterator[Callable[[int], Awaitable[dict[str, float]]]]:
    """Answer a call with the CPU seconds of each integration beyond those of its operations."""
    from stream2llm_bench.small.questions import Shelf, questions

    config = EngineConfig(
        model=str(model),
        vllm={
            "dtype": "bfloat16",
            "enforce_eager": True,
            "max_model_len": settings.max_model_len,
            "max_num_batched_tokens": 512,
            "kv_cache_memory_bytes": 256 * 2**20,
        },
    )
    async with RecordingEngine(config) as engine:
        shelf = Shelf(settings.documents)
        pairs: dict[str, tuple[Ask, Ask]] = {}
        for name, ask in questions(engine, shelf).items():
            recorded = await _record(engine, shelf, ask)
            if recorded.updates or len(recorded.appended) < settings.documents:
                msg = (
                    f"{name} sent {len(recorded.appended)} appends and {recorded.updates} updates "
                    f"for {settings.documents} documents, so its events cannot be told apart"
                )
                raise MeasurementError(msg)
            bare = partial(recorded.replay, engine)
            for warm_up in (ask, bare):
                await _timed(engine, warm_up)
            pairs[name] = (ask, bare)

        async def answer(repeat: int) -> dict[str, float]:
            return {name: await _beyond(engine, *pair, repeat) for name, pair in pairs.items()}

        yield answer


async def _record(engine: RecordingEngine, shelf: Shelf, ask: Ask) -> RecordedPrompt:
    recorded = RecordedPrompt()
    engine.recording = recorded
    shelf.pause_s = _RECORDING_PAUSE_S
    await ask()
    shelf.pause_s = None
    return recorded


async def _beyond(engine: StreamEngine, ask: Ask, bare: Ask, repeat: int) -> float:
    # Whoever goes first changes, should the machine get faster or slower.
    if repeat % 2:
        bare_s = await _timed(engine, bare)
        return await _timed(engine, ask) - bare_s
    ask_s = await _timed(engine, ask)
    return ask_s - await _timed(engine, bare)


async def _timed(engine: StreamEngine, ask: Ask) -> float:
    # What an earlier question left in the prefix cache would make this one cheaper.
    await engine.reset_prefix_cache()
    started_s = time.thread_time()
    await ask()
    return time.thread_time() - started_s


if __name__ == "__main__":
    standalone(measure)
