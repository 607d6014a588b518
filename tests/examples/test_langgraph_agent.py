"""The LangGraph example runs as it stands, on the shipped reader."""

import re

import pytest

from tests.examples.programs import output_of

pytestmark = pytest.mark.engine

EXPECTED = """
search: Zorland, Belmar, Quen
fetched Zorland
fetched Belmar
fetched Quen
The capital of Osteria is not in the documents.
search: Osteria, Kandor, Tarnwood
fetched Osteria
fetched Kandor
fetched Tarnwood
The capital of Osteria is Quillon.
"""
FIGURES = re.compile(r"^(\d+) of (\d+) prompt tokens were computed .*\n", re.MULTILINE)


def test_langgraph_agent(capsys: pytest.CaptureFixture[str]) -> None:
    output = re.sub(r"^ | $", "", output_of("langgraph_agent.py", capsys), flags=re.MULTILINE)
    assert FIGURES.sub("", output) == EXPECTED.lstrip()
    figures = FIGURES.findall(output)
    assert len(figures) == 2
    for early, total in figures:
        assert int(total) / 2 < int(early) < int(total)
