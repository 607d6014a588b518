"""The result as tables."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream2llm_rag.cli._demo._result import DemoResult, Turn

__all__ = ["print_result"]


def print_result(console: Console, result: DemoResult) -> None:
    """Prints the figures and the answers side by side."""
    console.print(_figures(result))
    console.print(_answers(result))


def _figures(result: DemoResult) -> Table:
    table = Table(title="Seconds to the first token, P50 / max", title_justify="left")
    table.add_column("Mode")
    for name in (
        "after the final context",
        "after the question",
        "tokens computed before the context was final",
        "right answers",
    ):
        table.add_column(name, justify="right")
    for mode, summary in result.summaries().items():
        share = summary.prefilled_before_final / summary.prompt_tokens
        table.add_row(
            mode,
            f"{summary.ttft_from_final_p50_s:.3f} / {summary.ttft_from_final_max_s:.3f}",
            f"{summary.time_to_first_token_p50_s:.2f} / {summary.time_to_first_token_max_s:.2f}",
            f"{summary.prefilled_before_final} of {summary.prompt_tokens} ({share:.0%})",
            f"{summary.right} of {summary.questions}",
        )
    return table


def _answers(result: DemoResult) -> Table:
    table = Table(title="Answers", title_justify="left")
    for name in ("Question", "Expected", "Blocking", "Streaming"):
        table.add_column(name)
    for blocking, streaming in zip(result.blocking, result.streaming, strict=True):
        table.add_row(
            escape(blocking.question),
            escape(blocking.expected),
            _judged(blocking),
            _judged(streaming),
        )
    return table


def _judged(turn: Turn) -> str:
    mark = "[green]✓[/]" if turn.right else "[red]✗[/]"
    return f"{mark} {escape(turn.answer)}"
