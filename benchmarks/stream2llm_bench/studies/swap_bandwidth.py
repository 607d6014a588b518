"""How fast KV blocks go to host memory and back, against a plain copy of as many bytes.

    python -m stream2llm_bench.studies.swap_bandwidth [--repeats N] [--json OUT]

The plain copy is torch's ``copy_`` of one contiguous buffer, on CPU in one thread like ours. The
copies of a case are timed in turn, so that a drift of the machine's speed meets all of them; the
ratio is the median over turns.
Caches are on the GPU where there is one. Device ids are scattered in all patterns but the first.
Host ids are those of a fresh pool, those that the pool hands out after long use ("used"), or
scattered as well ("fragmented", the worst case). "first" is the first copy out, into host memory
that the system has not handed out yet.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from stream2llm_bench.studies._result_file import add_json_option, write_figures
from stream2llm_engine.swap_space import SwapSpace
from stream2llm_engine.vllm_adapter.block_copies import BlockCopier

if TYPE_CHECKING:
    from collections.abc import Callable

_PATTERNS = ("consecutive", "scattered", "used", "fragmented")
# Victims that come and go before a used pool is measured, and the share of it that they hold.
_CHURN = 5_000
_IN_USE = 0.6


class Shape(NamedTuple):
    """The KV cache of a model, and how much of it is copied at once."""

    name: str
    layers: int
    kv_heads: int
    head_dim: int
    block_tokens: int
    blocks: int
    copied: int


SHAPES = (
    Shape("30M", 8, 2, 64, 32, blocks=4096, copied=256),
    Shape("Llama-3.1-8B", 32, 8, 128, 16, blocks=384, copied=128),
)


def _caches(shape: Shape, device: torch.device) -> dict[str, torch.Tensor]:
    block = (shape.kv_heads, shape.block_tokens, 2 * shape.head_dim)
    # Written once, so that every page is there before the clock starts.
    return {
        f"layer.{layer}": torch.ones((shape.blocks, *block), dtype=torch.bfloat16, device=device)
        for layer in range(shape.layers)
    }


def _ids(pattern: str, pool: int, count: int, seed: int) -> list[int]:
    if pattern == "consecutive":
        first = random.Random(seed).randrange(pool - count + 1)
        return list(range(first, first + count))
    return random.Random(seed).sample(range(pool), count)


def _host_ids(pattern: str, pool: int, count: int, seed: int) -> list[int]:
    if pattern == "fragmented":
        return _ids(pattern, pool, count, seed)
    space = SwapSpace(pool)
    if pattern == "used":
        _use(space, count, random.Random(seed))
    ids = space.reserve(count)
    assert ids is not None
    return ids


def _use(space: SwapSpace, longest: int, rng: random.Random) -> None:
    """Let victims of all sizes come and go, out of order."""
    held: list[list[int]] = []
    for _ in range(_CHURN):
        ids = space.reserve(rng.randint(1, longest))
        if ids is not None:
            held.append(ids)
        while held and space.free_blocks < (1 - _IN_USE) * space.total_blocks:
            space.release(held.pop(rng.randrange(len(held))))


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def measure(shape: Shape, pattern: str, repeats: int) -> dict[str, Any]:
    """Time copies of one shape and pattern, and plain copies, in turn.

    Args:
        shape: What is copied.
        pattern: How the ids lie.
        repeats: Turns.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    host_blocks = shape.copied * {"used": 8, "fragmented": 2}.get(pattern, 1)
    copier = BlockCopier(_caches(shape, device), shape.blocks, host_blocks)
    size = shape.copied * copier.bytes_per_block
    on_device = torch.ones(size, dtype=torch.uint8, device=device)
    on_host = torch.ones(size, dtype=torch.uint8, pin_memory=device.type == "cuda")

    def turn(seed: int) -> dict[str, float]:
        ids = _ids(pattern, shape.blocks, shape.copied, seed)
        host = _host_ids(pattern, host_blocks, shape.copied, seed)
        return {
            "out": _seconds(lambda: copier.copy_out(ids, host), device),
            "plain_out": _seconds(lambda: on_host.copy_(on_device), device),
            "in": _seconds(lambda: copier.start_copy_in(host, ids), device),
            "plain_in": _seconds(lambda: on_device.copy_(on_host), device),
        }

    first = turn(0)
    # Every host block is there before the turns that count.
    copier.copy_out([0] * host_blocks, range(host_blocks))
    turns = [turn(seed) for seed in range(1, repeats + 1)]
    copier.close()
    row: dict[str, Any] = {
        "shape": shape._asdict(),
        "pattern": pattern,
        "device": str(device),
        "bytes": size,
        "first_out_gb_s": size / first["out"] / 1e9,
    }
    for way in ("out", "in"):
        plain = f"plain_{way}"
        row[f"{way}_gb_s"] = size / statistics.median(t[way] for t in turns) / 1e9
        row[f"{plain}_gb_s"] = size / statistics.median(t[plain] for t in turns) / 1e9
        row[f"{way}_ratio"] = statistics.median(t[plain] / t[way] for t in turns)
    return row


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_json_option(parser)
    parser.add_argument("--repeats", type=int, default=21)
    arguments = parser.parse_args()
    rows = [measure(shape, pattern, arguments.repeats) for shape in SHAPES for pattern in _PATTERNS]
    for row in rows:
        print(
            f"{row['shape']['name']:13} {row['pattern']:12} {row['bytes'] / 2**20:5.0f} MiB  "
            f"out {row['out_gb_s']:5.2f} GB/s = {row['out_ratio']:.2f} x plain"
            f" {row['plain_out_gb_s']:5.2f}  "
            f"in {row['in_gb_s']:5.2f} GB/s = {row['in_ratio']:.2f} x plain"
            f" {row['plain_in_gb_s']:5.2f}  first out {row['first_out_gb_s']:5.2f} GB/s"
        )
    write_figures(arguments.json, "swap_bandwidth", {"runs": rows})


if __name__ == "__main__":
    main()
