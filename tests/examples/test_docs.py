"""The pages under docs/: their code runs, their commands run on few queries, their tables hold."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from stream2llm_engine.policies import policy_names, policy_path, resolve_policy
from stream2llm_profiles import profile_names
from stream2llm_rag.cli.app import app
from stream2llm_rag.workloads import AnnsWorkload, CrawlerWorkload, load_trace_file
from tests.rag.cli.simulate.builders import report, simulated

ROOT = Path(__file__).parents[2]
POLICIES = (ROOT / "docs" / "policies.md").read_text()
SIMULATOR = (ROOT / "docs" / "simulator.md").read_text()
README = (ROOT / "README.md").read_text()
MODULE = "my_module"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def commands(page: str) -> list[str]:
    """The arguments of every call of the simulator."""
    call = re.compile(r"^(?:PYTHONPATH=\. )?stream2llm simulate (.*)$", flags=re.MULTILINE)
    return [arguments for block in blocks(page, "sh") for arguments in call.findall(block)]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first line is ``heading``, without quotes."""
    _, below = page.split(f"\n{heading}\n")
    table = below.split("\n\n", maxsplit=1)[0].splitlines()[1:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in table]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader works: with the policy and the trace of the pages as files."""
    (policy,) = (text for text in blocks(POLICIES, "python") if "class MyPolicy" in text)
    (tmp_path / f"{MODULE}.py").write_text(policy)
    (trace,) = blocks(SIMULATOR, "json")
    (tmp_path / "trace.jsonl").write_text(trace)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # Noted for the end of the test, when the module is forgotten again.
    monkeypatch.setitem(sys.modules, MODULE, ModuleType(MODULE))
    del sys.modules[MODULE]
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", [POLICIES, SIMULATOR], ids=["policies", "simulator"])
def test_the_code_runs(page: str) -> None:
    for text in blocks(page, "python"):
        exec(compile(text, "docs", "exec"), {"__name__": "docs"})


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "command", sorted({*commands(POLICIES), *commands(SIMULATOR), *commands(README)})
)
def test_the_commands_run(command: str) -> None:
    # Where an option is given twice the last one holds, and two queries are quick.
    simulated(*shlex.split(command), "--queries", "2")


def test_there_are_commands_to_run() -> None:
    assert all(commands(page) for page in (POLICIES, SIMULATOR, README))


@pytest.mark.usefixtures("folder")
def test_the_policy_of_the_page_is_found_by_its_path() -> None:
    assert policy_path(type(resolve_policy(f"{MODULE}:MyPolicy"))) == f"{MODULE}:MyPolicy"


def test_the_page_names_every_policy_and_profile() -> None:
    assert sorted(row[0] for row in rows(POLICIES, "| name | rank | source |")) == policy_names()
    for name in profile_names():
        assert f"`{name}`" in SIMULATOR


def test_the_trace_of_the_page_is_one(folder: Path) -> None:
    first, second = load_trace_file(folder / "trace.jsonl")
    assert (first.tenant, first.arrival_s, first.final_s) == ("a", 0.0, 2.6)
    assert [event.replace for event in first.events] == [False, False]
    assert len(first.final_prompt()) == 60 + 512 + 300 + 30
    assert (second.tenant, len(second.question), second.output_tokens) == ("b", 12, 80)


def test_the_table_of_knobs_holds() -> None:
    documented = rows(SIMULATOR, "| knob | crawler | anns | what | option |")
    for column, workload in ((1, CrawlerWorkload), (2, AnnsWorkload)):
        defaults = {row[0]: row[column] for row in documented if row[column]}
        fields = workload().model_dump().items()
        assert defaults == {name: str(value) for name, value in fields}


def test_the_pages_name_options_that_exist() -> None:
    simulate = typer.main.get_command(app).commands["simulate"]  # type: ignore[attr-defined]
    options = {option for parameter in simulate.params for option in parameter.opts}
    for page in (POLICIES, SIMULATOR):
        found = set(re.findall(r"(?<![\w-])--[a-z0-9-]+\b", page)) - {"--scheduler-cls"}
        assert found <= options


@pytest.mark.usefixtures("folder")
def test_the_schema_of_the_result_file_holds() -> None:
    sections = SIMULATOR.split("\n## The result file\n")[1].split("\n| key | what |\n")
    keys: list[set[str]] = []
    for section in sections[1:]:
        table = section.split("\n\n", maxsplit=1)[0].splitlines()[1:]
        keys.append({key for row in table for key in re.findall(r"`(\w+)`", row.split("|")[1])})
    file_keys, run_keys = keys
    some = ["--queries", "12", "--policies", "srpt"]
    found = report(Path("out.json"), *some, "--tenants", "2")
    searched = report(Path("out.json"), *some, "--find-tenants", "--slo-p99", "9")
    assert file_keys == set(found) | set(searched)
    assert run_keys == set(found["runs"][0])
    assert searched["runs"] == []
