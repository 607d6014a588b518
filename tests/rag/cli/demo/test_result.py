"""Tables and picture of a result that is written down here."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from stream2llm_rag.cli._demo._board import Board
from stream2llm_rag.cli._demo._result import DemoResult, Mode, Summary, Turn
from stream2llm_rag.cli._demo._settings import DemoSettings
from stream2llm_rag.cli._demo._tables import print_result
from stream2llm_rag.cli._demo._timeline import save_timeline
from stream2llm_rag.pipeline import RagAnswer, RagTiming
from stream2llm_rag.reader import Fact


def turn(mode: Mode, user: int, ttft_s: float, *, right: bool = True) -> Turn:
    timing = RagTiming(
        retrieval_s=2.0,
        ttft_s=ttft_s,
        time_to_first_token_s=2.0 + ttft_s,
        total_s=2.5 + ttft_s,
        prompt_tokens=100,
        prefilled_before_final=90 if mode == "streaming" else 0,
    )
    return Turn(
        mode=mode,
        user=user,
        question=f"What is the [x] of {user}?",
        expected="Mirefall",
        answer="Mirefall" if right else "Tessin",
        right=right,
        timing=timing,
        asked_s=0.1 * user,
        arrivals_s=(1.0, 2.0),
        prefills_s=((1.0, 1.1), (2.0, 2.1)) if mode == "streaming" else (),
    )


@pytest.fixture
def result() -> DemoResult:
    return DemoResult(
        settings=DemoSettings(users=3, questions=1),
        blocking=[turn("blocking", user, 0.2 + 0.1 * user) for user in range(3)],
        streaming=[turn("streaming", user, 0.05, right=user > 0) for user in range(3)],
    )


def test_figures(result: DemoResult) -> None:
    summary = Summary.of(result.blocking)
    assert summary.ttft_from_final_p50_s == pytest.approx(0.3)
    assert summary.ttft_from_final_max_s == pytest.approx(0.4)
    assert summary.time_to_first_token_p50_s == pytest.approx(2.3)
    assert (summary.prefilled_before_final, summary.prompt_tokens) == (0, 300)
    assert result.summaries()["streaming"].right == 2


@pytest.mark.parametrize(
    ("text", "right"), [("It is Feward.", True), ("It is Fewarduborn.", False), ("", False)]
)
def test_answers_are_judged_by_whole_words(text: str, *, right: bool) -> None:
    fact = Fact(attribute="island", entity="Crasin", value="Feward")
    timing = RagTiming(retrieval_s=1, ttft_s=1, time_to_first_token_s=2, total_s=3, prompt_tokens=1)
    answer = RagAnswer(text=text, documents=(), timing=timing, token_ids=())
    judged = Turn.of("blocking", 0, fact, answer, asked_s=0, arrivals_s=[], prefills_s=[])
    assert judged.right is right
    assert judged.question == "What is the island of Crasin?"


def test_a_result_survives_json(result: DemoResult) -> None:
    assert DemoResult.model_validate_json(result.model_dump_json()) == result


def test_tables_show_both_modes_and_judge_the_answers(result: DemoResult) -> None:
    out = io.StringIO()
    print_result(Console(file=out, width=200), result)
    text = out.getvalue()
    assert "0.300 / 0.400" in text
    assert "270 of 300 (90%)" in text
    assert "2 of 3" in text
    assert text.count("✗ Tessin") == 1
    assert "What is the [x] of 2?" in text


def test_the_picture_is_written(result: DemoResult, tmp_path: Path) -> None:
    path = tmp_path / "timeline.png"
    save_timeline(result, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


def test_the_board_prints_lines_without_a_terminal() -> None:
    out = io.StringIO()
    board = Board(Console(file=out, width=200), users=2, questions=2)
    with board.mode("blocking: wait"):
        board.show(1, "Q?", "retrieving")
        board.done(1, "Q?", "A [b]")
    assert out.getvalue().splitlines() == ["blocking: wait", "  user 2: Q? A [b]"]


def test_the_board_is_live_on_a_terminal() -> None:
    out = io.StringIO()
    board = Board(Console(file=out, width=100, force_terminal=True), users=2, questions=2)
    with board.mode("streaming: prefill"):
        board.show(0, "Q?", "retrieving: 3 pages")
        board.done(1, "Q?", "Mirefall")
    text = out.getvalue()
    assert "retrieving: 3 pages" in text
    assert "1 of 2 answered" in text
    assert "Mirefall" in text
