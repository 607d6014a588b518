"""The lists of the examples are complete, and every example says how to run it."""

from __future__ import annotations

import ast
import re

import pytest

from tests.examples.programs import EXAMPLES

PROGRAMS = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py"))
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))
PAGES = [EXAMPLES / "README.md", EXAMPLES.parent / "docs" / "examples.md"]


def rows(text: str) -> dict[str, str]:
    """What the table says of each example."""
    return dict(re.findall(r"^\| `([\w./]+)` \| (.+?) \|", text, flags=re.MULTILINE))


def test_both_lists_name_every_example_and_say_the_same() -> None:
    short, long = (rows(page.read_text(encoding="utf-8")) for page in PAGES)
    assert sorted(short) == sorted([*PROGRAMS, *NOTEBOOKS])
    assert short == long


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_says_how_to_run_it(name: str) -> None:
    documentation = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8")))
    assert documentation is not None
    assert f"Run it with ``python examples/{name}``" in documentation
