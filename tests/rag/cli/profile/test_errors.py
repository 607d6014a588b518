"""Whatever is wrong is said before a model is loaded."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream2llm_rag.cli.app import app


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the measurement was started")

    monkeypatch.setattr("stream2llm_rag.cli._profile._measure.measure", fail)


def profile(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["profile", *arguments])


def assert_error(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    message = " ".join(result.stderr.split())
    assert message.startswith("error: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--model", "--random-llama"]),
        (["--model", "m", "--random-llama", "30m"], ["either"]),
        (["--random-llama", "3b"], ["'3b'", "30m"]),
        (["--model", "/no/such/model"], ["no model in", "config.json"]),
        (["--model", "./tests"], ["no model in"]),
    ],
)
def test_a_wrong_model(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    assert_error(profile("--out", str(tmp_path / "p.json"), *arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tokens", "32,many"], ["--tokens", "whole numbers", "'32,many'"]),
        (["--tokens", "0,8"], ["--tokens", "greater than or equal to 1"]),
        (["--contexts", "-1"], ["--contexts", "greater than or equal to 0"]),
        (["--contexts", ","], ["--contexts is empty"]),
        (["--repeats", "0"], ["--repeats"]),
        (["--token-budget", "8"], ["--token-budget"]),
        (["--statistic", "mean"], ["--statistic", "'median' or 'lowest'"]),
    ],
)
def test_a_wrong_value(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    out = str(tmp_path / "p.json")
    assert_error(profile("--out", out, "--model", "org/model", *arguments), *words)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    result = profile("--out", str(tmp_path / "p.json"), "--model", str(tmp_path))
    assert_error(result, "no model in")


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "p.json"):
        assert_error(profile("--out", str(out), "--model", "org/model"), "file")
    picture = str(tmp_path / "p.png")
    assert_error(profile("--out", picture, "--model", "org/model"), "picture", ".json")


def test_a_path_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever runs the tests may be allowed to write everywhere.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    result = profile("--out", str(tmp_path / "p.json"), "--model", "org/model")
    assert_error(result, "permission denied", "another --out")


def test_a_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "stream2llm_rag.cli.errors.find_spec", lambda name: name != "matplotlib" or None
    )
    result = profile("--out", str(tmp_path / "p.json"), "--model", "org/model")
    assert_error(result, "stream2llm-rag[demo]")
