"""The examples of the RAG core and of Qdrant run as they stand, on the shipped reader."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.engine


def test_streaming_rag(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "streaming_rag.py"), run_name="__main__")
    *events, update, answer, after_final, after_question = capsys.readouterr().out.splitlines()
    assert len(events) == 4
    assert all(line.startswith("append: ") for line in events)
    assert update.startswith("update: ")
    assert "Quen" not in update
    assert answer
    assert after_final.endswith("after the final context,")
    assert after_question.endswith("after the question")


def test_qdrant_edge(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "qdrant_edge.py"), run_name="__main__")
    answer, best, _second = capsys.readouterr().out.splitlines()
    assert answer
    assert best.startswith("  Zorland: ")
