import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "langchain_chain.py"


@pytest.mark.engine
def test_the_langchain_example_answers_and_overlaps() -> None:
    completed = subprocess.run(
        [sys.executable, EXAMPLE],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    assert completed.returncode == 0, completed.stderr
    assert "The capital of Belmar is Ranveld." in completed.stdout
    found = re.search(r"(\d+) of (\d+) prompt tokens", completed.stdout)
    assert found is not None
    prefilled, total = map(int, found.groups())
    assert total / 2 < prefilled < total
