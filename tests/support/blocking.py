"""Finding calls that would stop an event loop."""

from __future__ import annotations

import queue
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from blockbuster import BlockBuster, BlockBusterFunction, BlockingError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BlockingError", "no_blocking_calls"]

_OURS = [
    "langchain_stream2llm",
    "llama_index.llms.stream2llm",
    "qdrant_stream2llm",
    "stream2llm_engine",
    "stream2llm_rag",
]


@contextmanager
def no_blocking_calls() -> Iterator[None]:
    """Raises ``BlockingError`` where code of ours blocks a thread that runs an event loop.

    Covered are sleeping, files, sockets, databases, and waiting for another thread: by an event, a
    condition, a future or a queue. A lock that is held for a few instructions is no wait.
    """
    detector = BlockBuster(_OURS)
    functions = detector.functions
    for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
        functions[name] = _only_from_threading(functions[name])
    functions["queue.SimpleQueue.get"] = BlockBusterFunction(
        queue.SimpleQueue, "get", scanned_modules=_OURS, can_block_predicate=_has_item
    )
    detector.activate()
    try:
        yield
    finally:
        detector.deactivate()


def _only_from_threading(function: BlockBusterFunction) -> BlockBusterFunction:
    return BlockBusterFunction(
        function.module,
        function.func_name,
        scanned_modules="threading",
        can_block_functions=[*function.can_block_functions],
        can_block_predicate=function.can_block_predicate,
    )


def _has_item(waiting: Any, block: bool = True, timeout: float | None = None) -> bool:
    return not block or not waiting.empty()
