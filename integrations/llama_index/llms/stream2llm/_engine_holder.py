"""The engine of a model: given, or shared with other models of the same configuration."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from stream2llm_engine import EngineDeadError
from stream2llm_rag.engine_sharing import EngineUser, release_engine, shared_engine

if TYPE_CHECKING:
    from stream2llm_engine import EngineConfig, StreamEngine

__all__ = ["EngineHolder"]


class EngineHolder(EngineUser):
    """One engine for a model and all its copies.

    Args:
        config: What to run if no engine is given.
        engine: An engine that stays its owner's: it is used, never closed.
    """

    def __init__(self, config: EngineConfig, engine: StreamEngine | None = None) -> None:
        self._config = config
        self._given = engine
        self._shared: StreamEngine | None = None

    def engine(self) -> StreamEngine:
        """Returns the engine, which may not be started yet."""
        if self._given is not None:
            return self._given
        self._shared = shared_engine(self._config, self)
        return self._shared

    def context_window(self) -> int | None:
        """Longest prompt and answer together as far as it is known without loading the model."""
        engine = self._given or self._shared
        if engine is not None:
            with suppress(EngineDeadError):  # not started yet
                return engine.max_prompt_tokens + 1
        configured = self._config.vllm.get("max_model_len")
        return configured if isinstance(configured, int) and configured > 0 else None

    def close(self) -> None:
        """Gives a shared engine up; the next use takes it again, or a new one."""
        self._shared = None
        release_engine(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[EngineHolder], tuple[EngineConfig]]:
        # A running engine cannot leave its process; the copy there loads the model again.
        return EngineHolder, (self._config,)
