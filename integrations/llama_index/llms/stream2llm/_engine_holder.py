"""The engine of a model: given, or made at the first use."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from stream2llm_engine import EngineDeadError, StreamEngine

if TYPE_CHECKING:
    from stream2llm_engine import EngineConfig

__all__ = ["EngineHolder"]


class EngineHolder:
    """One engine for a model and all its copies.

    Args:
        config: What to run if no engine is given.
        engine: An engine that stays its owner's: it is used, never closed.
    """

    def __init__(self, config: EngineConfig, engine: StreamEngine | None = None) -> None:
        self._config = config
        self._given = engine
        self._own: StreamEngine | None = None
        self._lock = threading.Lock()

    def engine(self) -> StreamEngine:
        """Returns the engine, which may not be started yet."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._own is None:
                self._own = StreamEngine(self._config)
            return self._own

    def context_window(self) -> int | None:
        """Longest prompt and answer together as far as it is known without loading the model."""
        engine = self._given or self._own
        if engine is not None:
            with suppress(EngineDeadError):  # not started yet
                return engine.max_prompt_tokens + 1
        configured = self._config.vllm.get("max_model_len")
        return configured if isinstance(configured, int) and configured > 0 else None

    def close(self) -> None:
        """Closes an engine that was made here; the next use makes a new one."""
        with self._lock:
            engine, self._own = self._own, None
        if engine is not None:
            engine.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[EngineHolder], tuple[EngineConfig]]:
        # A running engine cannot leave its process; the copy there loads the model again.
        return EngineHolder, (self._config,)
