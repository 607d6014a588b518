"""The examples of the RAG core and of Qdrant run as they stand, on the shipped reader."""

import pytest

from tests.examples.programs import output_of

pytestmark = pytest.mark.engine


def test_streaming_rag(capsys: pytest.CaptureFixture[str]) -> None:
    output = output_of("streaming_rag.py", capsys)
    *events, update, answer, after_final, after_question = output.splitlines()
    assert len(events) == 4
    assert all(line.startswith("append: ") for line in events)
    assert update.startswith("update: ")
    assert "Quen" not in update
    assert answer.strip() == "The capital of Zorland is Mirapol."
    assert after_final.endswith("after the final context,")
    assert after_question.endswith("after the question")


def test_qdrant_edge(capsys: pytest.CaptureFixture[str]) -> None:
    answer, best, _second = output_of("qdrant_edge.py", capsys).splitlines()
    assert answer.strip() == "The river of Zorland is Bessel."
    assert best.startswith("  Zorland: ")
