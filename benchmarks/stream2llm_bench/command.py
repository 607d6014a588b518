"""``stream2llm bench``."""

from __future__ import annotations

__all__ = ["bench"]


def bench() -> None:
    """Measure the real engine against what people would use instead."""
