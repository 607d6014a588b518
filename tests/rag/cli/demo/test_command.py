"""The whole demo on real vLLM, small."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream2llm_rag.cli._demo._result import DemoResult
from stream2llm_rag.cli.app import app


@pytest.mark.engine
def test_the_quick_demo(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--quick", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    output = " ".join(result.stdout.split())
    assert "Arrivals are replayed" in output
    assert "Seconds to the first token" in output
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    measured = DemoResult.model_validate_json((tmp_path / "demo.json").read_bytes())
    blocking, streaming = measured.blocking, measured.streaming
    assert [turn.question for turn in blocking] == [turn.question for turn in streaming]
    assert [turn.answer for turn in blocking] == [turn.answer for turn in streaming]
    assert len(streaming) == 2
    for turn in blocking:
        assert turn.timing.prefilled_before_final == 0
        assert turn.prefills_s == ()
    for turn in streaming:
        assert turn.timing.prefilled_before_final > 0
        assert len(turn.prefills_s) == len(turn.arrivals_s) == 2
        assert all(start <= end for start, end in turn.prefills_s)


def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream2llm_rag.cli.errors.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 1
    assert "stream2llm-rag[qdrant]" in " ".join(result.stderr.split())
