"""The feature page: behind every tick of ours is a test that exists."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import DOCS, ROOT

PAGE = (DOCS / "features.md").read_text(encoding="utf-8")
COMPARISON = "Language models in your process"
TESTS_OF_COMPARISON = "Tests of the language models"
CAPABILITIES = ("LlamaIndex", "Qdrant")

SUITE = "tests/integrations/langchain/test_retriever_standard.py"
_TEST = re.compile(r"`(tests/[^`]*)`")


class Row(NamedTuple):
    """A row of a table: its cells by the names of their columns."""

    name: str
    cells: dict[str, str]

    @property
    def claims(self) -> bool:
        return "✓" in self.cells["ours"]

    @property
    def tests(self) -> list[str]:
        return [test for cell in self.cells.values() for test in _TEST.findall(cell)]


def table(heading: str) -> list[Row]:
    """The table below a heading."""
    _, section = re.split(rf"^#+ {heading}$", PAGE, maxsplit=1, flags=re.MULTILINE)
    lines = section.split("\n|", 1)[1].split("\n\n", 1)[0].splitlines()
    columns, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == len(columns) for row in rows)
    return [Row(row[0].strip("*"), dict(zip(columns[1:], row[1:], strict=True))) for row in rows]


def exists(test: str) -> bool:
    """Whether ``path::function`` or ``path::Class::method`` is defined, inherited ones included."""
    path, *names = test.split("::")
    if not (ROOT / path).is_file() or not names or not names[-1].startswith("test_"):
        return False
    if len(names) == 1:
        return names[0] in _functions(_body(ROOT / path))
    return len(names) == 2 and _has_method(ROOT / path, names[0], names[1])


def _has_method(path: Path, class_name: str, method: str) -> bool:
    for node in _body(path):
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            return method in _functions(node.body) or any(
                _has_method(path, base, method) for base in bases
            )
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                if (alias.asname or alias.name) == class_name:
                    return _has_method(_source(node.module), alias.name, method)
    return False


@cache
def _body(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body


def _functions(body: list[ast.stmt]) -> set[str]:
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _source(module: str) -> Path:
    """The file of a module, which is not imported."""
    top, *names = module.split(".")
    spec = importlib.util.find_spec(top)
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]).joinpath(*names)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("test", sorted(set(_TEST.findall(PAGE))))
def test_a_named_test_exists(test: str) -> None:
    assert exists(test)


@pytest.mark.parametrize(
    ("test", "there"),
    [
        ("tests/docs/test_features.py::test_a_named_test_exists", True),
        ("tests/docs/test_features.py::test_of_nothing", False),
        ("tests/docs/test_features.py::table", False),
        ("tests/docs/test_nothing.py::test_a_named_test_exists", False),
        ("tests/docs/test_features.py", False),
        (f"{SUITE}::TestOwn::test_k", False),
        (f"{SUITE}::TestNone::test_invoke_returns_documents", False),
        (f"{SUITE}::TestOwn::test_invoke_returns_documents", True),
    ],
)
def test_what_does_not_exist_is_noticed(test: str, there: bool) -> None:
    assert exists(test) is there


def test_every_tick_of_ours_in_the_comparison_has_a_test_and_nothing_else_has() -> None:
    rows, tested = table(COMPARISON), table(TESTS_OF_COMPARISON)
    assert [row.name for row in tested] == [row.name for row in rows if row.claims]
    assert [row.name for row in tested if not row.tests] == []
    assert [row.name for row in rows if not row.claims] == ["image input"]


@pytest.mark.parametrize("heading", CAPABILITIES)
def test_every_tick_of_ours_among_the_capabilities_has_a_test(heading: str) -> None:
    rows = table(heading)
    assert rows
    for row in rows:
        assert bool(_TEST.findall(row.cells["test"])) == row.claims, row.name


def test_every_table_is_looked_at() -> None:
    tables = len(re.findall(r"^\| --- ", PAGE, flags=re.MULTILINE))
    assert tables == len((COMPARISON, TESTS_OF_COMPARISON, *CAPABILITIES))
