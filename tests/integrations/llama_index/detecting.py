"""The shared detector of blocking calls, with this package among those watched."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from tests.support import blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["no_blocking_calls_of_ours"]


@contextmanager
def no_blocking_calls_of_ours() -> Iterator[None]:
    """Raises ``BlockingError`` where code of ours blocks a thread that runs an event loop."""
    watched = [*blocking._OURS, "llama_index.llms.stream2llm"]
    with patch.object(blocking, "_OURS", watched), blocking.no_blocking_calls():
        yield
