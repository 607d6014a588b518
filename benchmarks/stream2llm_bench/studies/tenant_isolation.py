"""What a tenant that floods the engine does to the others, with and without fair sharing.

    python -m stream2llm_bench.studies.tenant_isolation [--seeds 0,1,2] [--json OUT]

Ten tenants crawl on one engine with the H200 profile. Nine send a steady load, and the tenth sends
ten times its share of what the engine can do, so that the total is far beyond it. Shown is the time
from final context to first token of the nine, at the same times and with the same contexts.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stream2llm_bench.studies._result_file import add_json_option, write_figures
from stream2llm_bench.studies.paper_runs import PROFILES, paper_settings
from stream2llm_engine.simulator import percentiles, simulate
from stream2llm_profiles import load_profile
from stream2llm_rag.workloads import CrawlerWorkload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream2llm_engine.simulator import SimulatedQuery, SimulationSettings

__all__ = ["compare", "traffic"]

TENANTS = 10
FLOODER = "flooder"
SHARE_QPS = 0.4
"""Queries a second of a tenant that keeps to its share; ten of them keep the engine busy."""
EXCESS = 10
"""How many times its share the flooder sends."""
TARGET = 1.5


def traffic(seed: int, *, seconds: float) -> tuple[list[SimulatedQuery], list[SimulatedQuery]]:
    """Return the queries of the nine and those of the flooder.

    Args:
        seed: Seed of both.
        seconds: How long queries arrive.
    """
    nine_qps, flood_qps = (TENANTS - 1) * SHARE_QPS, EXCESS * SHARE_QPS
    nine = CrawlerWorkload(
        qps=nine_qps, queries=int(nine_qps * seconds), tenants=TENANTS - 1
    ).generate(seed=seed)
    flood = CrawlerWorkload(qps=flood_qps, queries=int(flood_qps * seconds)).generate(
        seed=seed + 10_000
    )
    return nine, [replace(q, query_id=f"flood-{q.query_id}", tenant=FLOODER) for q in flood]


def compare(seed: int, settings: SimulationSettings, *, seconds: float) -> dict[str, Any]:
    """Return the percentiles of the nine alone, beside the flooder, and without fair sharing."""
    nine, flood = traffic(seed, seconds=seconds)
    both = sorted([*nine, *flood], key=lambda query: query.arrival_s)
    runs = {
        "alone": simulate(nine, settings),
        "fair": simulate(both, settings),
        "unfair": simulate(both, replace(settings, fair_share=False)),
    }
    asked = {query.query_id for query in nine}
    figures: dict[str, Any] = {"seed": seed}
    for name, outcome in runs.items():
        waits = outcome.ttft_from_final_s
        figures[name] = percentiles([wait for i, wait in waits.items() if i in asked])
        figures[f"{name}_flooder"] = percentiles([w for i, w in waits.items() if i not in asked])
    return figures


def _print(results: Sequence[dict[str, Any]], policy: str) -> None:
    print(f"{policy}: first token of the nine since the final context, P50 / P99 in seconds")
    for result in results:
        shown = "   ".join(
            f"{name} {result[name]['p50']:6.3f} / {result[name]['p99']:7.3f}"
            for name in ("alone", "fair", "unfair")
        )
        print(f"  seed {result['seed']}   {shown}")
    for name in ("fair", "unfair"):
        ratio = statistics.median(r[name]["p99"] / r["alone"]["p99"] for r in results)
        print(f"  {name} over alone, P99, median: {ratio:.2f}   (target for fair: {TARGET})")


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--policies", default="srpt")
    parser.add_argument("--seconds", type=float, default=300.0)
    add_json_option(parser)
    arguments = parser.parse_args()
    profile = load_profile(PROFILES["H200"])
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    report: dict[str, Any] = {"runs": {}}
    for policy in arguments.policies.split(","):
        settings = paper_settings(profile, "crawler", policy)
        results = [compare(seed, settings, seconds=arguments.seconds) for seed in seeds]
        report["runs"][policy] = results
        _print(results, policy)
    write_figures(arguments.json, "tenant_isolation", report)


if __name__ == "__main__":
    main()
