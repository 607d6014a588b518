"""Numbers and tables as Markdown."""

from __future__ import annotations

import pytest

from stream2llm_bench.report._markdown import number, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.000"),
        (0.01234, "0.012"),
        (1.0249, "1.025"),
        (2.5, "2.50"),
        (9.9999, "10.0"),
        (99.99, "100"),
        (1234.5, "1,234"),
        (-3.0, "-3.00"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_cell_cannot_break_a_table() -> None:
    text = table(["a", "b"], [["1 | 2", "3\n4"]])
    assert text.splitlines() == ["| a | b |", "| --- | ---: |", "| 1 \\| 2 | 3 4 |"]
