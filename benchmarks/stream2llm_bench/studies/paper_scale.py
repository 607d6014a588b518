"""Traffic with the published numbers of tokens, on a GPU: stock vLLM against ours.

    python -m stream2llm_bench.studies.paper_scale --json FILE [--only crawler,anns,pressure]

A Llama of the shape of Llama-3.1-8B gets crawler and vector search traces, fewer queries than in
the paper, from blocking, warm-up and ours in turns, at 78 % of what blocking can do. Its weights
are made up: what steps and copies take is real, text is not. A run that was interrupted goes on
where it stopped, and ``python -m stream2llm_bench.report FILE --out DIRECTORY`` writes the tables.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from stream2llm_bench.bench_run import BenchRun
from stream2llm_bench.environment import command_line, environment
from stream2llm_bench.playing.machine import Machine, random_machine
from stream2llm_bench.playing.meter import Meter
from stream2llm_bench.playing.scenarios import Plan, Traffic
from stream2llm_bench.playing.system_pool import SystemPool
from stream2llm_bench.report.command import print_targets
from stream2llm_bench.results import ResultFile, load_results
from stream2llm_bench.step_estimates import plan_estimate_s
from stream2llm_rag.random_llama import RANDOM_LLAMAS

__all__ = ["machine", "plan"]

_LOAD = 0.78
_NAMES = ("crawler", "anns", "pressure")
# The published setting for the crawler.
_TOKEN_BUDGET = 2048
_MAX_MODEL_LEN = 72_000
# Two engines share the GPU and take turns; each says itself how much KV it holds.
_MEMORY_SHARE = 0.45


def plan(names: list[str], *, token_scale: float, queries: int, seed: int) -> Plan:
    """Return what is played.

    Args:
        names: Of ``"crawler"``, ``"anns"`` and ``"pressure"``.
        token_scale: Prompt tokens as a share of the published ones.
        queries: Queries of a crawler trace; others have fewer.
        seed: Seed of the traces.
    """
    systems = (("blocking", None), ("srpt", None), ("warmup", None))
    fewer = max(2, queries * 2 // 3)
    everything = {
        "crawler": Traffic("crawler-high", "crawler", _LOAD, queries, systems),
        "anns": Traffic(
            "anns-high", "anns", _LOAD, fewer, (("blocking", "stable"), ("srpt", "stable"))
        ),
        "pressure": Traffic("crawler-pressure", "crawler", _LOAD, fewer, systems, pool_share=0.2),
    }
    traffic = tuple(everything[name]._replace(token_scale=token_scale) for name in names)
    return Plan(traffic, seeds=(seed,), bound_stride=4)


def machine(directory: Path, size: str, attention: str | None) -> Machine:
    """Return the model and what all engines have in common.

    Args:
        directory: Where the model goes.
        size: One of ``RANDOM_LLAMAS``.
        attention: vLLM's name of an attention backend; ``None``: its choice.
    """
    made = random_machine(directory, size)
    arguments = {**dict(made.engine_arguments), "gpu_memory_utilization": _MEMORY_SHARE}
    if attention is not None:
        arguments["attention_backend"] = attention
    return made._replace(
        max_model_len=min(_MAX_MODEL_LEN, RANDOM_LLAMAS[size]["max_position_embeddings"]),
        token_budget=_TOKEN_BUDGET,
        engine_arguments=tuple(arguments.items()),
    )


def main() -> None:
    """Measure what is missing in the file, and print how ours compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--only", default=",".join(_NAMES), help="what to play")
    parser.add_argument("--queries", type=int, default=50, help="of a crawler trace")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attention", help="vLLM's name of an attention backend")
    parser.add_argument("--size", default="8b", choices=RANDOM_LLAMAS, help="of the model")
    parser.add_argument("--token-scale", type=float, default=1.0, help="of the published tokens")
    given = parser.parse_args()
    names = given.only.split(",")
    if not set(names) <= set(_NAMES):
        parser.error(f"--only takes some of {','.join(_NAMES)}")
    wanted = plan(names, token_scale=given.token_scale, queries=given.queries, seed=given.seed)
    results = (
        load_results(given.json)
        if given.json.exists()
        else ResultFile(
            command=command_line("stream2llm_bench.studies.paper_scale"), environment=environment()
        )
    )
    console = Console()
    with tempfile.TemporaryDirectory() as directory:
        made = machine(Path(directory), given.size, given.attention)
        results = results.model_copy(update={"model": made.label})
        with Meter(console, plan_estimate_s(wanted)) as meter, SystemPool() as pool:
            run = BenchRun(wanted, made, results, given.json, meter, pool)
            run.run()
    print_targets(run.results, console)


if __name__ == "__main__":
    main()
