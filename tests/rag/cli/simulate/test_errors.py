"""Whatever is wrong is said before any work is done."""

from pathlib import Path

import pytest

from tests.rag.cli.simulate.builders import assert_error, run, save_trace


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the simulation was started")

    monkeypatch.setattr("stream2llm_rag.cli._simulate._run.simulate", fail)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policies", "lifo"], ["unknown policy 'lifo'", "blocking, stock, fcfs", "module:"]),
        (["--policies", "no_such_module:Policy"], ["no_such_module", "importable"]),
        (["--policies", "pathlib:Path"], ["is no subclass of"]),
        (["--policies", " , "], ["--policies is empty"]),
        (["--workload", "crawl"], ["unknown workload 'crawl'", "crawler, anns", "trace file"]),
        (["--profile", "a100"], ["a100", "h200-tp2-llama-3.1-8b"]),
        (["--order", "stable,best"], ["--order", "'best'", "stable, rank"]),
        (["--preemption", "teleport"], ["--preemption", "'teleport'", "recompute"]),
        (["--seed", "0,-1"], ["--seed", "'-1'"]),
        (["--seed", "many"], ["--seed", "'many'"]),
        (["--qps", "0"], ["--qps", "greater than 0"]),
        (["--qps", "inf"], ["--qps", "finite"]),
        (["--queries", "0"], ["--queries", "greater than or equal to 1"]),
        (["--delay", "-1"], ["--delay"]),
        (["--tenants", "0"], ["--tenants"]),
        (["--burstiness", "0"], ["--burstiness"]),
        (["--workload", "anns", "--documents", "0"], ["--documents"]),
        (["--workload", "anns", "--replacement-rate", "2"], ["--replacement-rate", "got 2.0"]),
        (["--rerank-rate", "0.5"], ["--rerank-rate applies to --workload anns only"]),
        (["--token-budget", "0"], ["--token-budget"]),
        (["--block-size", "0"], ["--block-size"]),
        (["--pool-tokens", "15"], ["--pool-tokens must be at least --block-size, 16"]),
    ],
)
def test_a_wrong_value(arguments: list[str], words: list[str]) -> None:
    assert_error(run(*arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slo-p99", "1"], ["only apply with --find-tenants"]),
        (["--find-tenants"], ["--slo-p99 or --slo-p95"]),
        (["--find-tenants", "--slo-p99", "0"], ["--slo-p99", "greater than 0"]),
        (["--find-tenants", "--slo-p99", "1", "--qps", "4"], ["--qps", "--tenant-qps"]),
        (["--find-tenants", "--slo-p99", "1", "--tenants", "4"], ["--tenants"]),
        (["--find-tenants", "--slo-p99", "1", "--seed", "0,1"], ["one --seed"]),
    ],
)
def test_a_wrong_search_for_the_capacity(arguments: list[str], words: list[str]) -> None:
    assert_error(run(*arguments), *words)


def test_a_broken_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"arrival_s": -1, "events": []}')
    assert_error(run("--workload", str(trace)), "line 1", "arrival_s")


def test_what_a_trace_has_of_its_own(tmp_path: Path) -> None:
    trace = str(save_trace(tmp_path / "trace.jsonl"))
    assert_error(run("--workload", trace, "--tenants", "3"), "--tenants does not apply")
    assert_error(run("--workload", trace, "--seed", "0,1"), "--seed changes nothing")
    assert_error(run("--workload", trace, "--queries", "0"), "--queries")
    assert_error(run("--workload", trace, "--queries", "1", "--qps", "1"), "--qps cannot")
    search = ["--find-tenants", "--slo-p99", "1"]
    assert_error(run("--workload", trace, *search), "generated workload")


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert_error(run("--json", str(tmp_path)), "is a folder")
    assert_error(run("--json", str(file / "out.json")), "choose another path")
    assert_error(run("--plots", str(file)), "choose another path")


def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stream2llm_rag.cli.errors.find_spec", lambda name: None)
    assert_error(run(), "vllm is not installed")
    assert_error(run("--plots", str(tmp_path)), "stream2llm-rag[demo]")
