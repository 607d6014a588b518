"""Timing KV copies between the model's device and host memory."""

import random
import time
from collections.abc import Callable
from typing import Any

from stream2llm_engine.vllm_adapter.kv_shape import KvShape
from stream2llm_rag.cli._profile._settings import ProfileSettings
from stream2llm_rag.cli._profile._timings import CopyTiming

__all__ = ["time_copies"]

_MOST_BYTES = 2 * 2**30
_POLL_S = 20e-6


def time_copies(
    shape: KvShape, block_tokens: int, settings: ProfileSettings, advance: Callable[[], None]
) -> list[CopyTiming]:
    """Copies scattered blocks of caches of the model's size out and in.

    Args:
        shape: The model's KV cache.
        block_tokens: Tokens of a block.
        settings: How many blocks and how often.
        advance: Called after each number of blocks.
    """
    import torch

    from stream2llm_engine.vllm_adapter.block_copies import BlockCopier

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    block_bytes = shape.token_bytes * block_tokens
    counts = [count for count in settings.blocks if 4 * count * block_bytes <= _MOST_BYTES]
    largest = max(counts, default=1)
    caches = {
        # Ones, not empty memory: every page is there before the clock starts.
        str(layer): torch.ones(
            (2 * largest, block_tokens * shape.layer_bytes), dtype=torch.uint8, device=device
        )
        for layer in range(shape.layers)
    }
    copier = BlockCopier(caches, 2 * largest, 2 * largest)
    draw = random.Random(settings.seed)
    copier.copy_out(range(2 * largest), range(2 * largest))

    def blocks(count: int) -> tuple[list[int], range]:
        # New ones for each copy: those of the copy before would still be in the processor's cache.
        first = draw.randrange(2 * largest - count + 1)
        return draw.sample(range(2 * largest), count), range(first, first + count)

    timings = []
    for count in counts or [1]:
        pairs = []
        for _ in range(settings.copies + 1):
            out_s = _out_s(copier, *blocks(count), device)
            pairs.append((out_s, _in_s(copier, *blocks(count))))
        outs, ins = zip(*pairs[1:], strict=True)
        timings.append(CopyTiming(count, outs, ins, settings.statistic))
        advance()
    copier.close()
    return timings


def _out_s(copier: Any, device_ids: Any, host_ids: Any, device: Any) -> float:
    import torch

    started = time.perf_counter()
    copier.copy_out(device_ids, host_ids)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _in_s(copier: Any, device_ids: Any, host_ids: Any) -> float:
    started = time.perf_counter()
    copy = copier.start_copy_in(host_ids, device_ids)
    while not copy.done():
        time.sleep(_POLL_S)
    return time.perf_counter() - started
