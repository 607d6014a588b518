"""Ordinary requests through our engine and through stock vLLM, the two in turn.

    python -m stream2llm_bench.small.traffic [--quick]

Both get the same prompts, as many at a time, and compute on all cores. Each runs as its users run
it: stock vLLM is ``AsyncLLM`` with its core and its worker in processes of their own, ours the
default of ``EngineConfig``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from stream2llm_bench.measuring_process import MeasuringProcess
from stream2llm_bench.results import TrafficResult, percentiles
from stream2llm_bench.small.standalone import standalone
from stream2llm_engine import EngineConfig, StreamEngine

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TrafficSettings", "measure", "stock_traffic", "stream_traffic"]

System: TypeAlias = Literal["stock", "stream2llm"]
# Gives the number of tokens in each delta of an answer.
_Answer: TypeAlias = Callable[[list[int]], AsyncIterator[int]]
_Play: TypeAlias = Callable[[int], Awaitable[TrafficResult]]

# Below the size of every vocabulary in use here.
_VOCABULARY = 350


@dataclass(frozen=True, kw_only=True)
class TrafficSettings:
    """How much to send, and to engines of which size.

    Attributes:
        repeats: How often both systems are measured.
        requests: Requests of one measurement.
        concurrency: Requests at a time.
        prompt_tokens: Shortest and longest prompt; lengths between are equally likely.
        output_tokens: Tokens of every answer.
        vllm: Arguments of both engines.
    """

    repeats: int
    requests: int
    concurrency: int = 8
    prompt_tokens: tuple[int, int] = (64, 512)
    output_tokens: int = 64
    vllm: dict[str, Any]

    @classmethod
    def usual(cls, *, quick: bool) -> TrafficSettings:
        """Return the settings of ``stream2llm bench``."""
        return cls(
            repeats=1 if quick else 5,
            requests=16 if quick else 48,
            vllm={
                "dtype": "bfloat16",
                "enforce_eager": True,
                "max_model_len": 1024,
                "max_num_batched_tokens": 512,
                "block_size": 32,
                "kv_cache_memory_bytes": 512 * 2**20,
            },
        )

    def prompts(self, repeat: int) -> list[list[int]]:
        """Return the prompts of a repetition; no two share a prefix."""
        rng = np.random.default_rng(repeat)
        low, high = self.prompt_tokens
        return [
            rng.integers(5, _VOCABULARY, size=rng.integers(low, high, endpoint=True)).tolist()
            for _ in range(self.requests)
        ]


def measure(
    model: Path,
    *,
    quick: bool,
    on_progress: Callable[[str], None],
    settings: TrafficSettings | None = None,
) -> list[TrafficResult]:
    """Send the same requests to both systems, in turn.

    Args:
        model: Directory of the model.
        quick: Fewer requests and repetitions.
        on_progress: Called with what is being done.
        settings: Instead of the usual ones.

    Raises:
        MeasurementError: An engine failed.
    """
    settings = settings or TrafficSettings.usual(quick=quick)
    results: list[TrafficResult] = []
    on_progress("ordinary traffic: starting stock vLLM and stream2llm")
    with MeasuringProcess(stock_traffic, model, settings) as stock:
        # One after the other: on few cores both would start slowly.
        stock.start()
        with MeasuringProcess(stream_traffic, model, settings) as ours:
            ours.start()
            for repeat in range(settings.repeats):
                on_progress(f"ordinary traffic: repetition {repeat + 1} of {settings.repeats}")
                # Whoever goes first changes, should the machine get faster or slower.
                pair = (stock, ours) if repeat % 2 == 0 else (ours, stock)
                results += [system.ask(repeat) for system in pair]
    return results


@asynccontextmanager
async def stock_traffic(model: Path, settings: TrafficSettings) -> AsyncIterator[_Play]:
    """Run vLLM's own ``AsyncLLM``, warmed up; a call is a repetition's number."""
    # vLLM would leave one core to its other processes, and compute with the rest only.
    os.environ["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    llm = AsyncLLM.from_engine_args(
        AsyncEngineArgs(model=str(model), disable_log_stats=True, **settings.vllm)
    )
    params = SamplingParams(
        max_tokens=settings.output_tokens,
        ignore_eos=True,
        output_kind=RequestOutputKind.DELTA,
    )

    async def answer(prompt: list[int]) -> AsyncIterator[int]:
        request_id = f"request-{time.perf_counter_ns()}"
        async for output in llm.generate({"prompt_token_ids": prompt}, params, request_id):
            yield len(output.outputs[0].token_ids)

    try:
        yield await _warmed_up("stock", answer, settings)
    finally:
        llm.shutdown()


@asynccontextmanager
async def stream_traffic(
    model: Path, settings: TrafficSettings, *, in_process: bool = True
) -> AsyncIterator[_Play]:
    """Run our engine, warmed up; a call is a repetition's number."""
    from stream2llm_engine import SamplingParams

    params = SamplingParams(max_tokens=settings.output_tokens, ignore_eos=True)
    config = EngineConfig(model=str(model), in_process=in_process, vllm=settings.vllm)
    async with StreamEngine(config) as engine:

        async def answer(prompt: list[int]) -> AsyncIterator[int]:
            async for delta in engine.generate(prompt, params):
                yield len(delta.token_ids)

        yield await _warmed_up("stream2llm", answer, settings)


async def _warmed_up(system: System, answer: _Answer, settings: TrafficSettings) -> _Play:
    async def play(repeat: int) -> TrafficResult:
        return await _play(system, answer, settings, repeat)

    await play(settings.repeats)
    return play


async def _play(
    system: System, answer: _Answer, settings: TrafficSettings, repeat: int
) -> TrafficResult:
    """Keep ``concurrency`` requests going until all are answered."""
    prompts = iter(settings.prompts(repeat))
    gaps: list[float] = []

    async def client() -> int:
        received = 0
        for prompt in prompts:
            latest = None
            async for tokens in answer(prompt):
                now = time.perf_counter()
                received += tokens
                if latest is not None:
                    gaps.append(now - latest)
                # Tokens that come together have no gap between them.
                gaps.extend([0.0] * (tokens - 1))
                latest = now
        return received

    started = time.perf_counter()
    received = await asyncio.gather(*(client() for _ in range(settings.concurrency)))
    seconds = time.perf_counter() - started
    return TrafficResult(
        system=system,
        repeat=repeat,
        concurrency=settings.concurrency,
        throughput_tokens_s=sum(received) / seconds,
        inter_token_s=percentiles(gaps),
        samples=gaps,
    )


if __name__ == "__main__":
    standalone(measure)
