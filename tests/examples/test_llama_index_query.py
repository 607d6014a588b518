"""The LlamaIndex example runs as it stands, on the shipped reader."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "llama_index_query.py"


@pytest.mark.engine
def test_the_llama_index_example_answers_and_overlaps(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    output = capsys.readouterr().out
    assert "The capital of Belmar is Ranveld." in output
    found = re.search(r"(\d+) of (\d+) prompt tokens", output)
    assert found is not None
    prefilled, total = map(int, found.groups())
    assert total / 2 < prefilled < total
    assert output.startswith("found Belmar\nfound ")
    assert re.search(r"^sources: Belmar, (Osteria|Kandor)$", output, re.MULTILINE)
