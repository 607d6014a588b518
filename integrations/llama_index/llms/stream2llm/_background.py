"""Where the work of synchronous callers runs.

Answers run on the engine's own loop, streamed retrievals on another one and retrievals that block
in threads: a retriever that blocks, or asks the model itself, then stops nobody's tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stream2llm_engine.background_loop import BackgroundLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["run_retrieval"]

T = TypeVar("T")


class _Run(Protocol):
    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T:
        """Runs ``coroutine`` and waits for its result."""
        ...


run_retrieval: _Run = BackgroundLoop().run
