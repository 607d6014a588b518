"""Cutting a text at the end of a sentence."""

import re
from bisect import bisect_left
from collections.abc import Callable

__all__ = ["longest_start"]

# A closing mark with what closes around it, before a space; a full-width one, which no space
# follows; or the end of a line.
_SENTENCE_END = re.compile(
    r"""[.!?\u2026]["')\]\u00bb\u2019\u201d]*(?=\s)"""
    r"""|[\u3002\uff01\uff1f][\u300d\u300f\u2019\u201d\uff09]*"""
    r"""|(?=\n)"""
)


def longest_start(text: str, fits: Callable[[str], bool]) -> str:
    """Returns the longest start of ``text`` that ends with a sentence and fits.

    Args:
        text: The text.
        fits: Whether a start fits; if one does, so do the shorter ones, as a rule.

    Returns:
        The empty string if not even the first sentence fits.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    ends = [end for end in ends if text[:end].strip()]
    place = bisect_left(ends, True, key=lambda end: not fits(text[:end].rstrip()))
    return text[: ends[place - 1]].rstrip() if place else ""
