"""What every system can do."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from stream2llm_engine.simulator import SimulatedQuery

__all__ = ["Client", "EngineSize", "QueryTimes", "UnansweredError", "sleep_until"]


class UnansweredError(RuntimeError):
    """A query ended without an answer."""


class EngineSize(BaseModel):
    """What all systems have in common.

    Attributes:
        model: Directory of the model.
        pool_bytes: KV cache.
        block_size: Tokens of a KV block.
        max_model_len: Longest sequence in tokens.
        token_budget: Tokens a step may compute (``max_num_batched_tokens``).
        engine_arguments: Further fields of ``EngineArgs``.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    pool_bytes: int
    block_size: int
    max_model_len: int
    token_budget: int
    engine_arguments: tuple[tuple[str, Any], ...] = ()

    def vllm_arguments(self) -> dict[str, Any]:
        """Return the fields of vLLM's ``EngineArgs``, but for the model."""
        return {
            "dtype": "bfloat16",
            "enforce_eager": True,
            "enable_prefix_caching": True,
            "block_size": self.block_size,
            "max_model_len": self.max_model_len,
            "max_num_batched_tokens": self.token_budget,
            "kv_cache_memory_bytes": self.pool_bytes,
            **dict(self.engine_arguments),
        }


@dataclass(slots=True, kw_only=True)
class QueryTimes:
    """When what happened to a query, in seconds of ``time.perf_counter``.

    Attributes:
        due_s: When its context was final by the trace, whatever the system was doing.
        token_s: When each token of the answer came.
        computed_tokens: Prompt tokens that were computed for it, where that is known.
        prefills_s: Begin and end of each stretch from sending a chunk to its KV being in place.
    """

    due_s: float
    token_s: list[float] = field(default_factory=list)
    computed_tokens: int | None = None
    prefills_s: list[tuple[float, float]] = field(default_factory=list)


class Client(ABC):
    """An engine that is running."""

    @abstractmethod
    async def answer(self, query: SimulatedQuery, started_s: float) -> QueryTimes:
        """Play one query of a trace that started at ``started_s``.

        Raises:
            UnansweredError: There was no answer, or not all of it.
        """

    @abstractmethod
    async def forget(self) -> None:
        """Empty the prefix cache."""

    async def counters(self) -> dict[str, Any]:
        """Return counters of the engine since its start."""
        return {}

    @abstractmethod
    async def close(self) -> None:
        """Stop the engine."""


async def sleep_until(due_s: float) -> None:
    """Sleep until a time of ``time.perf_counter``."""
    await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
