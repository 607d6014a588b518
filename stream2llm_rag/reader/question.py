"""Recognises the questions the reader was trained for."""

from __future__ import annotations

import re

_QUESTION = re.compile(
    r"\s*(?:question:\s*)?what(?:\s+is|'s)\s+(?:the\s+)?(?P<attribute>\w+(?:[ -]\w+){0,2}?)"
    r"\s+of\s+(?P<entity>[^?\n]*[^?\s])\s*\?\s*",
    re.IGNORECASE,
)


def parse_question(text: str) -> tuple[str, str] | None:
    """Takes a question of the reader's kind, "What is the X of Y?", apart.

    Args:
        text: The question; letter case, outer spaces and a leading "Question:" do not matter.

    Returns:
        The attribute and the entity as written, or None when the question is of another kind.
    """
    match = _QUESTION.fullmatch(text)
    return (match["attribute"], match["entity"]) if match else None
