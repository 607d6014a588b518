"""The LlamaIndex example runs as it stands, on the shipped reader."""

import re

import pytest

from tests.examples.programs import output_of


@pytest.mark.engine
def test_the_llama_index_example_answers_and_overlaps(capsys: pytest.CaptureFixture[str]) -> None:
    output = output_of("llama_index_query.py", capsys)
    assert "The capital of Belmar is Ranveld." in output
    found = re.search(r"(\d+) of (\d+) prompt tokens", output)
    assert found is not None
    prefilled, total = map(int, found.groups())
    assert total / 2 < prefilled < total
    assert output.startswith("found Belmar\nfound ")
    assert re.search(r"^sources: Belmar, (Osteria|Kandor)$", output, re.MULTILINE)
