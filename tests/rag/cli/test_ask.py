import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream2llm_rag.cli._model import reader
from stream2llm_rag.cli.app import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "Zorland.md").write_text("The capital of Zorland is Mirefall.\n")
    (docs / "Bananas.md").write_text("Bananas are yellow fruit that grow in warm valleys.\n")
    (docs / "broken.pdf").write_bytes(b"not a pdf")
    return docs


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["ask", *arguments])


def assert_friendly(result: Result, *words: str) -> None:
    assert result.exit_code == 1
    output = " ".join(result.stderr.split())
    assert "Traceback" not in output
    _, _, message = output.partition("error: ")
    for word in words:
        assert word in message


QUESTION = "What is the capital of Zorland?"


def test_a_missing_folder(tmp_path: Path) -> None:
    assert_friendly(ask("--docs", str(tmp_path / "missing"), QUESTION), "is not a folder")


def test_a_folder_without_documents(tmp_path: Path) -> None:
    assert_friendly(ask("--docs", str(tmp_path), QUESTION), "holds no readable")


def test_the_reader_says_when_a_question_is_not_of_its_kind(folder: Path) -> None:
    result = ask("--docs", str(folder), "Who founded [Zorland]?")
    assert_friendly(result, "Who founded [Zorland]?", "--model")


def test_a_missing_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream2llm_rag.cli.errors.find_spec", lambda name: name != "pypdf" or None)
    result = ask("--docs", str(folder), QUESTION)
    assert_friendly(result, 'pip install "stream2llm-rag[web]"')


def test_the_question_is_needed() -> None:
    result = ask("--docs", ".")
    assert result.exit_code == 2


@pytest.mark.engine
def test_an_unknown_model(folder: Path) -> None:
    result = ask("--docs", str(folder), "--model", str(folder / "no-model"), "Anything?")
    assert_friendly(result, "no-model")


@pytest.mark.engine
def test_an_answer_with_its_sources(folder: Path) -> None:
    result = ask("--docs", str(folder), "--top-k", "1", QUESTION)
    assert result.exit_code == 0, result.stderr
    assert "Read 2 files" in result.stderr
    assert "Skipped broken.pdf" in result.stderr
    output = " ".join(result.stdout.split())
    found = re.fullmatch(
        r"Question What is the capital of Zorland\? Answer (.+) Sources Zorland\.md#1 \(0\.\d+\)"
        r" First token (\S+) s after the context was final, (\S+) s after the question;"
        r" (\d+) of (\d+) prompt tokens were computed before the context was final\.",
        output,
    )
    assert found, output
    _, after_final, after_question, before, prompt = found.groups()
    assert 0 < float(after_final) < float(after_question)
    assert 0 <= int(before) < int(prompt)


@pytest.mark.engine
def test_any_other_model_answers_any_question(folder: Path, tiny_llama: Path) -> None:
    result = ask("--docs", str(folder), "--model", str(tiny_llama), "--max-tokens", "4", "Why?")
    assert result.exit_code == 0, result.stderr
    assert "Zorland.md#1" in result.stdout


def test_the_reader_is_asked_in_the_words_it_was_trained_on() -> None:
    (system, user) = reader().prompt.messages("What is the capital of Zorland?")
    assert system["content"]
    assert user["content"].endswith("Question: What is the capital of Zorland?\nAnswer:")
