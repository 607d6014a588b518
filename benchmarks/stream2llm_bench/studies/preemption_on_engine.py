"""Recompute, swap and auto on the real engine, with a KV pool for a sixth of the working set.

    python -m stream2llm_bench.studies.preemption_on_engine [--seeds 0,1,2] [--json OUT]

A Llama-shaped model of 30 M random parameters in bf16 gets scaled crawler queries; the modes run
one after the other for each seed. The working set is what all open sessions hold on average.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stream2llm_bench.environment import environment
from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine
from stream2llm_rag.random_llama import save_random_llama
from stream2llm_rag.workloads import CrawlerWorkload

if TYPE_CHECKING:
    from stream2llm_engine.simulator import SimulatedQuery

_BLOCK = 32
# 8 layers, keys and values, 2 heads of 64, bf16.
_BLOCK_BYTES = _BLOCK * 8 * 2 * 2 * 64 * 2
_MODES = ("recompute", "swap", "auto")
# Fewer than the model has, so that every id is a token of it.
_VOCABULARY = 500


def workload(queries: int, seed: int) -> list[SimulatedQuery]:
    """Return crawler queries a tenth as long, with many sessions open at once."""
    return CrawlerWorkload(
        queries=queries,
        qps=3.0,
        delay_multiplier=1.5,
        prompt_tokens_median=500,
        prompt_tokens_sigma=0.7,
        prompt_tokens_cap=1500,
        template_tokens=40,
        question_tokens=20,
    ).generate(seed=seed)


def pool_blocks(queries: list[SimulatedQuery]) -> int:
    """Return the blocks of a pool for a sixth of what open sessions hold on average."""
    token_seconds = 0.0
    for query in queries:
        held = 0
        for event, following in zip(query.events, query.events[1:], strict=False):
            held += len(event.token_ids)
            token_seconds += held * following.delay_s
    seconds = max(q.final_s for q in queries)
    tokens = token_seconds / seconds / 6
    longest = max(q.longest_prompt() + len(q.question) for q in queries)
    return max(int(tokens), longest + 2 * _BLOCK) // _BLOCK + 2


async def ask(engine: StreamEngine, query: SimulatedQuery, started: float) -> float:
    """Play one query; return the seconds from final context to first token."""
    due = started + query.arrival_s
    session = None
    tokens: list[int] = []
    for index, event in enumerate(query.events):
        due += event.delay_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tokens = [token % _VOCABULARY + 5 for token in event.token_ids]
        if index == len(query.events) - 1:
            break
        if session is None:
            session = await engine.open_session(tokens)
        elif tokens:
            await session.append(tokens)
    session = session or await engine.open_session()
    last = tokens + [token % _VOCABULARY + 5 for token in query.question]
    async for _ in session.finalize(last, SamplingParams(max_tokens=1, ignore_eos=True)):
        pass
    assert session.stats.ttft_s is not None
    return session.stats.ttft_s


async def run(model: Path, mode: Any, queries: list[SimulatedQuery]) -> dict[str, Any]:
    """Run one mode on an engine of its own."""
    config = EngineConfig(
        model=str(model),
        preemption=mode,
        profile="cpu-2core-llama-30m",
        swap_space_gib=2.0,
        vllm={
            "dtype": "bfloat16",
            "enforce_eager": True,
            "max_model_len": 1536,
            "max_num_batched_tokens": 512,
            "kv_cache_memory_bytes": pool_blocks(queries) * _BLOCK_BYTES,
        },
    )
    async with StreamEngine(config) as engine:
        warm_up = await engine.open_session(list(range(5, 400)))
        async for _ in warm_up.finalize((), SamplingParams(max_tokens=1)):
            pass
        started = time.perf_counter()
        ttfts = await asyncio.gather(*(ask(engine, q, started) for q in queries))
        seconds = time.perf_counter() - started
        stats = await engine.stats()
    return {
        "mode": mode,
        "pool_blocks": stats.total_blocks,
        "ttft_from_final_s": dict(
            zip(("p50", "p95", "p99"), map(float, np.percentile(ttfts, [50, 95, 99])), strict=True)
        ),
        "completion_s": seconds,
        "preemptions": stats.preemptions,
        "tokens": stats.tokens,
    }


def main() -> None:
    """Run every mode for every seed and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--queries", type=int, default=90)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as model:
        save_random_llama("30m", Path(model))
        for seed in map(int, arguments.seeds.split(",")):
            queries = workload(arguments.queries, seed)
            for mode in _MODES:
                result = {"seed": seed, **asyncio.run(run(Path(model), mode, queries))}
                runs.append(result)
                print(json.dumps(result), flush=True)
    for mode in _MODES:
        mine = [r for r in runs if r["mode"] == mode]
        p99 = statistics.median(r["ttft_from_final_s"]["p99"] for r in mine)
        done = statistics.median(r["completion_s"] for r in mine)
        print(f"{mode:9}  P99 {p99:.3f} s  completion {done:.1f} s  (medians)")
    if arguments.json:
        results = {"runs": runs, "environment": environment(), "command": " ".join(sys.argv)}
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
