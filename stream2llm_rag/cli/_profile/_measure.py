"""Everything that is measured for a profile."""

import asyncio
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stream2llm_engine import EngineConfig, StreamEngine
from stream2llm_rag.cli._profile._copies import time_copies
from stream2llm_rag.cli._profile._prefill import StepTimer
from stream2llm_rag.cli._profile._settings import ProfileSettings
from stream2llm_rag.cli._profile._timings import CopyTiming, StepTiming

__all__ = ["Measured", "engine_config", "measure"]

_CPU_KV_CACHE_BYTES = 2 * 2**30
_MAX_REQUESTS = 16


class Measured(NamedTuple):
    """The raw measurements and the engine they come from."""

    steps: list[StepTiming]
    copies: list[CopyTiming]
    settings: ProfileSettings
    block_tokens: int
    pool_tokens: int
    token_bytes: int
    dtype: str
    eager: bool


def engine_config(model: str, settings: ProfileSettings, **more: Any) -> EngineConfig:
    """The engine that is measured; without prefix caching every token is computed.

    Args:
        model: Directory or hub id.
        settings: What is measured.
        more: Fields of vLLM's ``EngineArgs`` that the model needs.
    """
    import torch

    vllm: dict[str, Any] = {
        "enable_prefix_caching": False,
        "max_num_batched_tokens": settings.token_budget,
        # Requests are alone; vLLM wants this many tokens in a step at least.
        "max_num_seqs": _MAX_REQUESTS,
        "max_model_len": -1,
        "use_tqdm_on_load": False,
        "enforce_eager": settings.eager or not torch.cuda.is_available(),
        **more,
    }
    if not torch.cuda.is_available():
        vllm["kv_cache_memory_bytes"] = _CPU_KV_CACHE_BYTES
    # No policy that cuts chunks of open prompts short.
    return EngineConfig(model=model, policy="fcfs", preemption="recompute", vllm=vllm)


def measure(config: EngineConfig, settings: ProfileSettings, console: Console) -> Measured:
    """Starts the engine, times steps, stops it, and times KV copies.

    Args:
        config: What is measured.
        settings: Grid and repeats.
        console: Where progress is shown.
    """
    from stream2llm_engine.vllm_adapter.kv_shape import kv_shape

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        steps, block_tokens, pool_tokens = asyncio.run(_measure_steps(config, settings, progress))
        shape = kv_shape(config)
        task = progress.add_task("Copying KV blocks", total=len(settings.blocks))
        # The engine is gone: its memory is free, and it does not compete for the processor.
        copies = time_copies(shape, block_tokens, settings, lambda: progress.advance(task))
    return Measured(
        steps=steps,
        copies=copies,
        settings=settings,
        block_tokens=block_tokens,
        pool_tokens=pool_tokens,
        token_bytes=shape.token_bytes,
        dtype=shape.dtype,
        eager=bool(config.vllm["enforce_eager"]),
    )


async def _measure_steps(
    config: EngineConfig, settings: ProfileSettings, progress: Progress
) -> tuple[list[StepTiming], int, int]:
    task = progress.add_task("Loading the model", total=None)
    engine = StreamEngine(config)
    try:
        await engine.start()
        timer = StepTimer(engine, settings)
        await timer.warm_up()
        progress.update(task, description="Prefilling", total=timer.total)
        steps = await timer.measure(lambda: progress.advance(task))
        stats = await engine.stats()
    finally:
        await engine.aclose()
    return steps, stats.block_size, stats.total_blocks * stats.block_size
