"""Measured beside simulated: prices come back from what an idle machine took."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from stream2llm_bench.playing.scenarios import queries_of
from stream2llm_bench.results import BoundResult
from stream2llm_bench.studies import simulated_runs
from stream2llm_profiles import PrefillCost
from tests.benchmarks.builders import results, run, scenario

if TYPE_CHECKING:
    from pathlib import Path

    from stream2llm_bench.results import ResultFile

BUDGET = 192
PRICES = PrefillCost(step_overhead_s=9e-3, token_s=1.7e-4, token_context_s=1.3e-7)
CRAWL = scenario("crawler-high", queries=24, pool_tokens=262_144)


def idle_s(tokens: int, context: int) -> float:
    """What the prices say about a prompt's end."""
    chunks = range(0, tokens, BUDGET)
    return sum(PRICES.step_s([(min(BUDGET, tokens - done), context + done)]) for done in chunks)


@pytest.fixture(scope="module")
def file() -> ResultFile:
    samples = []
    for query in queries_of(CRAWL, 0, None, 512)[::2]:
        tokens = len(query.events[-1].token_ids) + len(query.question) + 1
        samples.append(idle_s(tokens, len(query.final_prompt()) - tokens))
    bound = BoundResult(scenario=CRAWL.name, seed=0, stride=2, samples=samples)
    runs = [run(CRAWL, policy, 0, 0.1) for policy in ("blocking", "warmup", "srpt")]
    return results(scenarios=[CRAWL], runs=runs, bounds=[bound])


def test_prices_come_from_the_idle_machine(file: ResultFile) -> None:
    found = simulated_runs.fitted_prefill(file, CRAWL.name, BUDGET)
    assert found.step_overhead_s == pytest.approx(PRICES.step_overhead_s, rel=1e-3)
    assert found.token_s == pytest.approx(PRICES.token_s, rel=1e-3)
    assert found.token_context_s == pytest.approx(PRICES.token_context_s, rel=1e-3)


def test_both_are_shown(
    file: ResultFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "results.json"
    file.save(path)
    monkeypatch.setattr(sys, "argv", ["simulated_runs", str(path)])
    simulated_runs.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 9.00 ms, token 170.00 us, token and context token 130.00 ns"
    # The simulator has no warm-up.
    assert [line.split()[0] for line in lines[1:]] == ["blocking", "srpt"]
    assert all("p99" in line for line in lines[1:])


def test_prices_need_prompts_that_only_grow(
    file: ResultFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "results.json"
    file.save(path)
    monkeypatch.setattr(sys, "argv", ["simulated_runs", str(path), "--scenario", "anns-high"])
    with pytest.raises(SystemExit):
        simulated_runs.main()
    assert "['crawler-high']" in capsys.readouterr().err
