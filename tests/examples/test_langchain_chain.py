"""The LangChain example runs as it stands, on the shipped reader."""

import re

import pytest

from tests.examples.programs import output_of


@pytest.mark.engine
def test_the_langchain_example_answers_and_overlaps(capsys: pytest.CaptureFixture[str]) -> None:
    output = output_of("langchain_chain.py", capsys)
    assert "The capital of Belmar is Ranveld." in output
    found = re.search(r"(\d+) of (\d+) prompt tokens", output)
    assert found is not None
    prefilled, total = map(int, found.groups())
    assert total / 2 < prefilled < total
