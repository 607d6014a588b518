"""Recompute, swap and auto on the real engine, with a KV pool for a sixth of the working set.

    python -m stream2llm_bench.studies.preemption_on_engine [--seeds 0,1,2] [--json OUT]

A Llama with 30 M random parameters in bf16 gets scaled crawler queries; the modes run one after the
other for each seed. The working set is what all open sessions hold on average.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream2llm_bench.playing.clients import EngineSize, StreamClient
from stream2llm_bench.playing.machine import Machine, random_machine
from stream2llm_bench.playing.player import play
from stream2llm_bench.playing.scenarios import BLOCK_SIZE, in_vocabulary, resident_tokens
from stream2llm_bench.results import percentiles
from stream2llm_bench.studies._result_file import add_json_option, write_figures
from stream2llm_rag.workloads import CrawlerWorkload

if TYPE_CHECKING:
    from stream2llm_engine.simulator import SimulatedQuery

MODES = ("recompute", "swap", "auto")
POOL_SHARE = 1 / 6
_PROMPT_CAP = 1500
_PATIENCE_S = 120.0


def workload(queries: int, seed: int) -> list[SimulatedQuery]:
    """Return crawler queries a tenth as long, with many sessions open at once."""
    return CrawlerWorkload(
        queries=queries,
        qps=3.0,
        delay_multiplier=1.5,
        prompt_tokens_median=500,
        prompt_tokens_sigma=0.7,
        prompt_tokens_cap=_PROMPT_CAP,
        template_tokens=40,
        question_tokens=20,
    ).generate(seed=seed)


def engine_size(machine: Machine, queries: list[SimulatedQuery]) -> EngineSize:
    """Return an engine whose pool holds a sixth of the working set, one long prompt at least."""
    tokens = max(int(resident_tokens(queries) * POOL_SHARE), _PROMPT_CAP + 2 * BLOCK_SIZE)
    blocks = tokens // BLOCK_SIZE + 2
    return EngineSize(
        model=str(machine.model),
        pool_bytes=blocks * BLOCK_SIZE * machine.kv_bytes_per_token,
        block_size=BLOCK_SIZE,
        max_model_len=_PROMPT_CAP + BLOCK_SIZE,
        token_budget=512,
    )


async def run(machine: Machine, mode: str, queries: list[SimulatedQuery]) -> dict[str, Any]:
    """Run one mode on an engine of its own.

    Raises:
        RuntimeError: A query was not answered.
    """
    size = engine_size(machine, queries)
    client = await StreamClient.start(
        size, policy="srpt", preemption=mode, profile="cpu-2core-llama-30m"
    )
    try:
        await play(client, queries[:2], patience_s=_PATIENCE_S)
        before = await client.counters()
        played = await play(client, queries, patience_s=_PATIENCE_S)
        after = await client.counters()
    finally:
        await client.close()
    if played.problems:
        raise RuntimeError("; ".join(played.problems))
    ttfts = [times.token_s[0] - times.due_s for times in played.times if times is not None]
    counted = {
        name: {kind: after[name][kind] - before[name][kind] for kind in after[name]}
        for name in ("preemptions", "tokens")
    }
    return {
        "mode": mode,
        "pool_blocks": after["total_blocks"],
        "ttft_from_final_s": percentiles(ttfts).model_dump(),
        "completion_s": played.ended_s - played.started_s,
        **counted,
    }


def main() -> None:
    """Run every mode for every seed and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--queries", type=int, default=90)
    add_json_option(parser)
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        machine = random_machine(Path(directory))
        for seed in map(int, arguments.seeds.split(",")):
            trace = workload(arguments.queries, seed)
            queries = [in_vocabulary(query, machine.vocabulary) for query in trace]
            for mode in MODES:
                result = {"seed": seed, **asyncio.run(run(machine, mode, queries))}
                runs.append(result)
                print(json.dumps(result), flush=True)
    for mode in MODES:
        mine = [r for r in runs if r["mode"] == mode]
        p99 = statistics.median(r["ttft_from_final_s"]["p99"] for r in mine)
        done = statistics.median(r["completion_s"] for r in mine)
        print(f"{mode:9}  P99 {p99:.3f} s  completion {done:.1f} s  (medians)")
    write_figures(arguments.json, "preemption_on_engine", {"runs": runs})


if __name__ == "__main__":
    main()
