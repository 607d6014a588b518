"""What the docs say about a GPU is what was measured there."""

from __future__ import annotations

from pathlib import Path

from stream2llm_bench.report._scenario import scenario_section
from stream2llm_bench.results import load_results

ROOT = Path(__file__).parents[3]
MEASURED = ROOT / "benchmarks" / "results" / "h200" / "2026-11-26.json"


def test_the_table_is_that_of_the_results() -> None:
    results = load_results(MEASURED)
    section = scenario_section(results, results.scenario("crawler-high"), "picture.png")
    table = section.split("\n\n")[3].splitlines()
    # The idle machine was asked 13 queries, whose percentiles say little.
    shown = [row for row in table if "idle machine" not in row]
    assert len(shown) == 5
    assert "\n".join(shown) in (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def test_the_readme_says_the_same() -> None:
    results = load_results(MEASURED)
    blocking, ours = (
        next(run.ttft_from_final_s.model_dump() for run in results.runs if run.policy == policy)
        for policy in ("blocking", "srpt")
    )
    shown = {point: f"{blocking[point] / ours[point]:.1f} times" for point in blocking}
    said = f"{shown['p50']} (P50), {shown['p95']} (P95) and {shown['p99']} (P99) sooner"
    assert said in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_it_was_a_gpu() -> None:
    results = load_results(MEASURED)
    assert results.environment["machine"]["gpu"] == "NVIDIA H200"
    assert [one.token_scale for one in results.scenarios] == [1.0, 1.0]
