"""The command on real engines: one small scenario, every kind of system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from stream2llm_bench.playing import scenarios
from stream2llm_bench.playing.scenarios import Plan, Traffic
from stream2llm_bench.results import ResultFile, load_results
from stream2llm_rag.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Plan(
    (
        Traffic(
            "crawler-high",
            "crawler",
            0.5,
            4,
            (("blocking", None), ("warmup", None), ("streaming_input", None), ("srpt", None)),
            output_tokens=3,
        ),
    ),
    seeds=(0,),
    bound_stride=2,
)


@pytest.fixture(autouse=True)
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "quick_plan", lambda: SMALL)


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_every_system_answers_the_same_trace(tmp_path: Path) -> None:
    path = tmp_path / "out" / "results.json"
    arguments = ["bench", "--quick", "--only", "crawler-high", "--json", str(path)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    measured = load_results(path)
    assert [run.policy for run in measured.runs] == [
        system for system, _ in SMALL.traffic[0].systems
    ]
    for run in measured.runs:
        assert run.note is None
        assert run.failed == 0
        for name, count in [
            ("ttft_from_final_s", 4),
            ("time_to_first_token_s", 4),
            ("inter_token_s", 8),
        ]:
            assert len(run.samples[name]) == count
            assert min(run.samples[name]) >= 0.0
        assert run.peak_memory_mib > 100
    by_policy = {run.policy: run for run in measured.runs}
    needed = by_policy["blocking"].tokens_computed
    assert needed is not None
    for policy, told in (("blocking", True), ("streaming_input", False), ("srpt", False)):
        busy_s = by_policy[policy].busy_s
        assert (busy_s is not None) == told
        assert busy_s is None or 0.0 < busy_s < by_policy[policy].completion_s
    # Ours computes every token once; the prefix cache gives both the template they share.
    assert by_policy["srpt"].tokens_computed == pytest.approx(needed, rel=0.05)
    assert len(measured.bounds[0].samples) == 2
    assert (path.parent / "report.md").exists()


def test_a_finished_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    ResultFile(command="x", quick=True, complete=True).save(path)
    result = CliRunner().invoke(app, ["bench", "--quick", "--json", str(path)])
    assert result.exit_code == 1
    assert "is complete" in " ".join(result.stderr.split())


def test_an_unknown_scenario_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    result = CliRunner().invoke(app, ["bench", "--quick", "--only", "nope", "--json", str(path)])
    assert result.exit_code == 1
    assert "crawler-high" in result.stderr


def test_the_short_form_does_not_complete_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    ResultFile(command="x").save(path)
    result = CliRunner().invoke(app, ["bench", "--quick", "--json", str(path)])
    assert result.exit_code == 1
    assert "--quick" in result.stderr
