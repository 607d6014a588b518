import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from stream2llm_bench.studies import paper_tables
from stream2llm_bench.studies.knob_curve import knob_curve
from stream2llm_bench.studies.paper_report import compared
from stream2llm_bench.studies.paper_runs import Traffic, paper_queries
from stream2llm_bench.studies.paper_tables import RunResult, run_tables
from stream2llm_bench.studies.published import ROWS


@pytest.fixture(scope="module")
def results() -> list[RunResult]:
    return run_tables([0], queries=20)


def test_every_published_run_is_simulated_and_ours_beside_it(results: list[RunResult]) -> None:
    found = {(r.hardware, *r.traffic, r.policy) for r in results if r.policy != "srpt"}
    assert found == {row[:5] for row in ROWS}
    ours = [r for r in results if r.policy == "srpt"]
    assert len(ours) == 9 + 2 * 9
    assert all(r.order == "rank" for r in results if r.policy != "srpt")
    assert all(0 < r.ttft_s[0] <= r.ttft_s[1] <= r.ttft_s[2] for r in results)


def test_every_published_number_is_compared_once(results: list[RunResult]) -> None:
    comparisons = compared(results)
    assert len(comparisons) == 3 * len(ROWS)
    fitted = [c for c in comparisons if c.fitted]
    assert len(fitted) == 8 + 2
    assert {c.percentile for c in fitted} == {"P50"}
    assert {c.row.policy for c in fitted if c.row.hardware == "H100"} == {"blocking"}


def test_blocking_waits_longer_than_streaming_on_average(results: list[RunResult]) -> None:
    p50 = {(r.hardware, r.traffic, r.policy): r.ttft_s[0] for r in results}
    traffic = Traffic("crawler", 1, 0.5)
    assert p50["H200", traffic, "fcfs"] < p50["H200", traffic, "blocking"]


def test_the_command_prints_and_writes(
    results: list[RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_tables, "run_tables", lambda *args, **kwargs: results)
    app = Typer()
    app.command()(paper_tables.main)
    path = tmp_path / "tables.json"
    arguments = ["--queries", "20", "--seeds", "0", "--json", str(path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "H200, anns, delays x30" in result.output
    assert "all others" in result.output
    written = json.loads(path.read_text())
    assert written["environment"]["versions"]["python"]
    assert "stream2llm_bench.studies.paper_tables" in written["command"]
    assert len(written["runs"]) == len(ROWS) + 9 + 2 * 9
    assert {run["order"] for run in written["runs"]} == {"rank", "stable"}


def test_more_replacement_leaves_less_in_place() -> None:
    low, high = knob_curve([0], replacement_rates=(0.0, 0.3), queries=60)
    assert max(low.ratios) < min(high.ratios)
    assert low.invalidated["rank"] == low.invalidated["stable"] == 0
    assert high.invalidated["stable"] < high.invalidated["rank"]


def test_the_long_wait_of_an_update_query_comes_last() -> None:
    replayed = paper_queries(Traffic("anns", 1, 1.0), seed=0, count=50, replacement_rate=0.0)
    assert all(query.events[-1].delay_s > 1.5 for query in replayed)
