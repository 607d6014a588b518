"""Cutting a text to a size that is costly to measure."""

from collections.abc import Callable

from stream2llm_rag.sources._sentences import longest_start
from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason

__all__ = ["cut"]


def cut(text: str, limit: int | None, measure: Callable[[str], int]) -> str:
    """Returns the longest start of ``text`` that ends with a sentence and measures at most a limit.

    Only about twice that much of the text is ever measured: pages are long, tokenizers slow.

    Args:
        text: The text.
        limit: The size; None: no limit.
        measure: Returns the size of a text.

    Raises:
        PageSkippedError: Not even the first sentence is short enough.
    """
    if limit is None:
        return text
    end = limit
    while end < len(text) and measure(text[:end]) <= limit:
        end *= 2
    if end >= len(text) and measure(text) <= limit:
        return text
    start = longest_start(text[:end], lambda shorter: measure(shorter) <= limit)
    if not start:
        raise PageSkippedError(SkipReason.BUDGET, "its first sentence is longer than what is left")
    return start
