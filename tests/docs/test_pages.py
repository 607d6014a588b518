"""The pages under docs/, without an engine: what they show is there and compiles, or runs."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import TYPE_CHECKING

import pytest
import typer

from stream2llm_rag.cli.app import app
from tests.docs.pages import (
    DOCS,
    ROOT,
    RUN_ELSEWHERE,
    Block,
    after,
    before,
    blocks,
    pages,
    programs,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = [block for page in pages() for block in blocks(page, "python")]
DIFFS = [block for page in pages() for block in blocks(page, "diff")]
SHELL = [block for page in pages() for block in blocks(page, "sh")]
TROUBLESHOOTING = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("page", programs(engine=False))
def test_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(page)


@pytest.mark.parametrize("block", PYTHON, ids=where)
def test_a_block_compiles(block: Block) -> None:
    block.compiled()


@pytest.mark.parametrize(
    "block", [block for block in PYTHON if block.not_run is not None], ids=where
)
def test_a_block_that_is_not_run_imports_what_is_there(block: Block) -> None:
    imports: list[ast.stmt] = [
        node for node in ast.parse(block.code).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exec(compile(ast.Module(imports, []), block.page, "exec"), {})


@pytest.mark.parametrize("diff", DIFFS, ids=where)
def test_a_diff_changes_two_lines(diff: Block) -> None:
    old, new = before(diff), after(diff)
    diff.compiled(old)
    diff.compiled(new)
    assert sum(line not in new.splitlines() for line in old.splitlines()) == 2
    assert len(old.splitlines()) == len(new.splitlines())


def test_every_page_with_code_runs_somewhere() -> None:
    run_here = {*programs(engine=False), *programs(engine=True)}
    assert {block.page for block in PYTHON} == run_here | RUN_ELSEWHERE
    assert DIFFS
    assert SHELL


def test_every_error_is_explained() -> None:
    documented = re.findall(r"^### `(\w+)`$", TROUBLESHOOTING, flags=re.MULTILINE)
    assert len(set(documented)) == len(documented)
    assert {*documented} == _errors()


def test_commands_and_their_options_exist() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found = [
        match
        for block in SHELL
        for match in re.findall(r"^stream2llm (\w+)(.*)$", block.code, flags=re.MULTILINE)
    ]
    assert found
    for name, arguments in found:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {*re.findall(r"(?<![\w-])--[a-z0-9-]+\b", arguments)} <= options


def test_make_targets_and_extras_exist() -> None:
    text = "\n".join(block.code for block in SHELL)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", text, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"stream2llm-rag\[([\w,]+)\]", text):
        assert {*extras.split(",")} <= project["optional-dependencies"].keys()
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for extra in project["optional-dependencies"]:
        assert f"`{extra}`" in index


def _errors() -> set[str]:
    """Names of all classes below ``Stream2LLMError`` in the source, which need not be imported."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for root in ("engine", "stream2llm_rag", "integrations", "profiles", "benchmarks")
        for path in (ROOT / root).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    found = {"Stream2LLMError"}
    while below := {name for name, names in bases.items() if names & found} - found:
        found |= below
    return found
