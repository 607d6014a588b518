"""The study of GPUs, on the CPU: what it would play there, and a run that is as small as can be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from stream2llm_bench.playing.scenarios import draft_scenario, pool_tokens, queries_of
from stream2llm_bench.results import load_results
from stream2llm_bench.studies import paper_scale

if TYPE_CHECKING:
    from pathlib import Path


def test_prompts_are_as_long_as_published() -> None:
    (crawler, anns) = paper_scale.plan(
        ["crawler", "anns"], token_scale=1.0, queries=300, seed=0
    ).traffic
    for traffic, median in ((crawler, 5749), (anns, 10_126)):
        queries = queries_of(draft_scenario(traffic, 1.0), 0, None, 128_256)
        lengths = sorted(len(query.final_prompt()) for query in queries)
        assert lengths[len(lengths) // 2] == pytest.approx(median, rel=0.2)


def test_the_small_pool_holds_the_longest_prompt() -> None:
    (traffic,) = paper_scale.plan(["pressure"], token_scale=1.0, queries=90, seed=0).traffic
    scenario = draft_scenario(traffic, 2.0)
    longest = max(len(query.final_prompt()) for query in queries_of(scenario, 0, None, 500))
    assert longest <= pool_tokens(scenario) < 50_000


def test_an_unknown_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["paper_scale", "--json", "f", "--only", "crawler,crawl"])
    with pytest.raises(SystemExit):
        paper_scale.main()
    assert "crawler,anns,pressure" in capsys.readouterr().err


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_every_system_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    arguments = f"--json {path} --only crawler,anns --queries 3 --size 30m --token-scale 0.02"
    monkeypatch.setattr(sys, "argv", ["paper_scale", *arguments.split()])
    paper_scale.main()
    assert "P50" in capsys.readouterr().out
    measured = load_results(path)
    assert [(run.scenario, run.policy) for run in measured.runs] == [
        *(("crawler-high", system) for system in ("blocking", "srpt", "warmup")),
        *(("anns-high", system) for system in ("blocking", "srpt")),
    ]
    assert all(run.failed == 0 for run in measured.runs)
    assert [one.token_scale for one in measured.scenarios] == [0.02, 0.02]
