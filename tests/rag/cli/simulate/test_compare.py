"""Small workloads on vLLM's real scheduler."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream2llm_engine.policies import FirstComeFirstServed
from stream2llm_profiles import load_profile
from tests.rag.cli.simulate.builders import QUERIES, report, save_trace, simulated

SMALL = ["--queries", str(QUERIES), "--qps", "8"]
PERCENTILES = {"p50", "p95", "p99", "p99_9", "max"}


class LikeFcfs(FirstComeFirstServed):
    """A policy of the user's own."""


@pytest.fixture(scope="module")
def crawler(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("simulate") / "made" / "crawler.json"
    return report(path, *SMALL, "--policies", "blocking,stock,srpt", "--tenants", "3")


def timeless(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the runs without what depends on the machine."""
    return [{k: v for k, v in run.items() if k != "simulation_wall_s"} for run in found["runs"]]


def key(run: dict[str, Any]) -> tuple[Any, ...]:
    return run["policy"], run["preemption"], run["order"], run["seed"]


def test_the_runs(crawler: dict[str, Any]) -> None:
    assert [key(run) for run in crawler["runs"]] == [
        ("blocking", None, None, 0),
        ("stock", "recompute", None, 0),
        ("srpt", "recompute", None, 0),
    ]
    for run in crawler["runs"]:
        assert run["qps"] == 8
        for name in ("ttft_from_final_s", "time_to_first_token_s", "bound_s"):
            assert set(run[name]) == PERCENTILES
            assert 0 < run[name]["p50"] <= run[name]["p95"] <= run[name]["p99"]
        assert run["ttft_from_final_s"]["p50"] >= run["bound_s"]["p50"]
        assert run["preemptions"] == {"recompute": 0, "swap": 0}
        assert run["completion_s"] > 0
        assert run["refused"] == 0


def test_what_does_not_apply_to_blocking(crawler: dict[str, Any]) -> None:
    blocking, _, srpt = crawler["runs"]
    for name in (
        "tokens_computed",
        "tokens_invalidated",
        "tokens_recomputed",
        "idle_preemptions",
        "evicted_blocks",
    ):
        assert blocking[name] is None
        assert srpt[name] is not None
    assert srpt["tokens_computed"] > 0
    assert srpt["tokens_invalidated"] == 0
    assert srpt["ttft_from_final_s"]["p50"] < blocking["ttft_from_final_s"]["p50"]


def test_tenants(crawler: dict[str, Any]) -> None:
    for run in crawler["runs"]:
        assert list(run["tenants"]) == ["tenant-0", "tenant-1", "tenant-2"]
        assert all(set(figures) == PERCENTILES for figures in run["tenants"].values())


def test_what_the_figures_depend_on(crawler: dict[str, Any]) -> None:
    assert set(crawler) == {"runs", "bound", "environment", "workload", "command"}
    assert crawler["bound"] == crawler["runs"][0]["bound_s"]
    environment = crawler["environment"]
    assert environment["simulated"] is True
    assert environment["profile"]["source"] == "analytic"
    assert environment["engine"] == {
        "swap_space_gib": 64.0,
        "fair_share": True,
        "tenant_weights": {},
        "token_budget": 2048,
        "block_size": 16,
        "pool_tokens": load_profile("h200-tp2-llama-3.1-8b").kv_pool_tokens,
        "prefix_caching": False,
        "max_requests": 1024,
        "max_model_len": 131_072,
    }
    assert {"stream2llm-rag", "numpy", "torch"} < set(environment["versions"])
    workload = crawler["workload"]
    assert (workload["name"], workload["seeds"], workload["orders"]) == ("crawler", [0], [None])
    assert (workload["queries"], workload["qps"], workload["tenants"]) == (QUERIES, 8, 3)
    command = crawler["command"]
    assert command.startswith("stream2llm simulate --qps 8.0 --queries 30 --tenants 3 --policies ")
    assert "--seed" not in command


def test_the_same_call_gives_the_same_figures(tmp_path: Path, crawler: dict[str, Any]) -> None:
    again = report(
        tmp_path / "again.json", *SMALL, "--policies", "blocking,stock,srpt", "--tenants", "3"
    )
    assert timeless(again) == timeless(crawler)
    assert again["bound"] == crawler["bound"]


def test_seeds_and_orders(tmp_path: Path) -> None:
    out = tmp_path / "anns.json"
    arguments = [*SMALL, "--workload", "anns", "--policies", "blocking,fcfs", "--seed", "0,1"]
    result = simulated(*arguments, "--order", "rank,stable", "--json", str(out))
    found = json.loads(out.read_text())
    runs = {key(run): run for run in found["runs"]}
    assert list(runs) == [
        (policy, preemption, order, seed)
        for seed in (0, 1)
        for policy, preemption, order in (
            ("blocking", None, None),
            ("fcfs", "recompute", "stable"),
            ("fcfs", "recompute", "rank"),
        )
    ]
    for seed in (0, 1):
        stable = runs["fcfs", "recompute", "stable", seed]
        rank = runs["fcfs", "recompute", "rank", seed]
        assert 0 < stable["tokens_invalidated"] < rank["tokens_invalidated"]
        assert stable["bound_s"]["p50"] < rank["bound_s"]["p50"]
    assert found["environment"]["engine"]["token_budget"] == 8192
    output = " ".join(result.stdout.split())
    assert "Simulated, not measured: anns, 30 queries, 8 queries/s" in output
    assert "Median over the seeds" in output
    assert "Idle machine (stable): P50" in output
    assert "Idle machine (rank): P50" in output


def test_the_bound_of_several_seeds(tmp_path: Path) -> None:
    small = ["--queries", "1", "--policies", "blocking,fcfs", "--seed", "0,1"]
    found = report(tmp_path / "out.json", *small)
    first, second = (found["runs"][number]["bound_s"]["p50"] for number in (0, 2))
    assert found["bound"]["p50"] == pytest.approx((first + second) / 2)


def test_a_trace_file(tmp_path: Path) -> None:
    trace = save_trace(tmp_path / "trace.jsonl")
    arguments = ["--workload", str(trace), "--policies", "fcfs", "--order", "stable,rank"]
    found = report(tmp_path / "out.json", *arguments)
    assert [key(run)[2:] for run in found["runs"]] == [("stable", None), ("rank", None)]
    stable, rank = found["runs"]
    assert stable["tokens_invalidated"] == 0
    assert rank["tokens_invalidated"] > 6 * 700
    assert list(stable["tenants"]) == ["team-0", "team-1"]
    assert stable["qps"] == found["workload"]["recorded_qps"] == pytest.approx(2)
    assert found["workload"]["queries"] == 6
    assert len(found["workload"]["sha256"]) == 64


def test_a_trace_file_at_another_pace(tmp_path: Path) -> None:
    trace = save_trace(tmp_path / "trace.jsonl", updates=False)
    changes = ["--queries", "5", "--qps", "0.5", "--delay", "2", "--order", "stable,rank"]
    (run,) = report(
        tmp_path / "out.json", "--workload", str(trace), "--policies", "fcfs", *changes
    )["runs"]
    assert run["order"] is None
    assert run["qps"] == 0.5
    assert run["completion_s"] == pytest.approx(4 * 2 + 3, abs=0.5)
    assert run["time_to_first_token_s"]["p50"] > 3


def test_a_policy_by_its_path(tmp_path: Path) -> None:
    own = f"{__name__}:{LikeFcfs.__name__}"
    found = report(tmp_path / "out.json", *SMALL, "--policies", f"fcfs,{own},fcfs")
    fcfs, like_fcfs = timeless(found)
    assert like_fcfs.pop("policy") == own
    fcfs.pop("policy")
    assert fcfs == like_fcfs


def test_pressure_and_refusals(tmp_path: Path) -> None:
    result = simulated(
        *SMALL, "--policies", "stock,fcfs", "--pool-tokens", "20000", "--json", str(tmp_path / "o")
    )
    found = json.loads((tmp_path / "o").read_text())
    assert found["environment"]["engine"]["pool_tokens"] == 20_000
    for run in found["runs"]:
        assert run["preemptions"]["recompute"] > 0
        assert run["refused"] > 0
    assert f"{found['runs'][0]['refused']} queries were refused" in result.stdout


def test_nothing_fits() -> None:
    result = simulated("--queries", "3", "--policies", "fcfs", "--pool-tokens", "16")
    assert "3 queries were refused" in result.stdout


def test_the_prefix_cache(tmp_path: Path) -> None:
    small = [*SMALL, "--policies", "fcfs", "--prefix-caching"]
    (run,) = report(tmp_path / "out.json", *small)["runs"]
    # Every prompt starts with the same template.
    assert run["tokens_reused"] > 0


def test_the_picture(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "plots"
    small = [*SMALL, "--workload", "anns", "--order", "stable,rank", "--policies", "blocking,srpt"]
    result = simulated(*small, "--plots", str(folder))
    assert (folder / "ttft_ccdf.png").read_bytes().startswith(b"\x89PNG")
    assert "ttft_ccdf.png" in result.stdout
