"""The search for the number of tenants."""

import json
from pathlib import Path

import pytest

from stream2llm_rag.cli._simulate._capacity import most_tenants
from tests.rag.cli.simulate.builders import assert_error, run, simulated

SEARCH = ["--find-tenants", "--queries", "20", "--tenant-qps", "1"]


@pytest.mark.parametrize("capacity", [0, 1, 2, 3, 7, 8, 62, 99, 100, 1000])
def test_doubling_and_bisecting(capacity: int) -> None:
    tried: list[int] = []

    def holds(tenants: int) -> bool:
        tried.append(tenants)
        return tenants <= capacity

    assert most_tenants(holds, 100) == min(capacity, 100)
    assert len(tried) == len(set(tried)) <= 14
    assert set(tried) <= set(range(1, 101))


def test_the_answer(tmp_path: Path) -> None:
    out, plots = tmp_path / "out.json", tmp_path / "plots"
    result = simulated(
        *SEARCH,
        *("--policies", "blocking,srpt", "--slo-p99", "0.245", "--slo-p95", "0.24"),
        *("--json", str(out), "--plots", str(plots)),
    )
    found = json.loads(out.read_text())
    assert found["runs"] == []
    assert set(found["bound"]) >= {"p50", "p95", "p99"}
    answers = {answer["policy"]: answer for answer in found["capacity"]}
    assert list(answers) == ["blocking", "srpt"]
    for answer in answers.values():
        assert answer["limits_s"] == {"p95": 0.24, "p99": 0.245}
        assert answer["qps"] == answer["tenants"]
        for point in answer["points"]:
            times = point["ttft_from_final_s"]
            assert point["within"] is (times["p95"] <= 0.24 and times["p99"] <= 0.245)
            assert point["qps"] == point["tenants"]
        within = [point["tenants"] for point in answer["points"] if point["within"]]
        assert answer["tenants"] == max(within, default=0)
    assert answers["srpt"]["tenants"] > answers["blocking"]["tenants"]
    assert (plots / "capacity.png").read_bytes().startswith(b"\x89PNG")
    assert "P95 under 0.24 s and P99 under 0.245 s" in result.stdout


def test_every_limit_holds() -> None:
    result = simulated(*SEARCH, "--policies", "srpt", "--slo-p95", "1000")
    assert "srpt: at least 20 tenants at 1 queries/s each" in result.stdout
    assert "raise --queries" in result.stdout


def test_no_limit_holds() -> None:
    result = simulated(*SEARCH, "--policies", "fcfs,srpt", "--slo-p99", "0.001")
    for policy in ("fcfs", "srpt"):
        assert f"{policy}: not even one tenant at 1 queries/s each" in result.stdout


def test_no_query_fits() -> None:
    result = run(*SEARCH, "--policies", "srpt", "--slo-p99", "1", "--pool-tokens", "16")
    assert_error(result, "no query fits the KV pool")
