"""Streaming sessions on an unmodified vLLM engine.

Heavy names (everything that imports torch or vLLM) load at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream2llm_engine.config import EngineConfig
from stream2llm_engine.engine import StreamEngine
from stream2llm_engine.errors import (
    DeadlineExceededError,
    EngineConfigError,
    EngineDeadError,
    InvalidRequestError,
    ProfileError,
    PromptTooLongError,
    SessionClosedError,
    SessionLimitError,
    SessionTimeoutError,
    Stream2LLMError,
    UnsupportedFeatureError,
)
from stream2llm_engine.outputs import EngineStats, SessionStats, StreamOutput, TenantStats
from stream2llm_engine.session import OutputStream, StreamSession

if TYPE_CHECKING:
    from stream2llm_engine.vllm_adapter.sampling import SamplingParams
    from stream2llm_engine.vllm_adapter.scheduler import StreamScheduler

__all__ = [
    "DeadlineExceededError",
    "EngineConfig",
    "EngineConfigError",
    "EngineDeadError",
    "EngineStats",
    "InvalidRequestError",
    "OutputStream",
    "ProfileError",
    "PromptTooLongError",
    "SamplingParams",
    "SessionClosedError",
    "SessionLimitError",
    "SessionStats",
    "SessionTimeoutError",
    "Stream2LLMError",
    "StreamEngine",
    "StreamOutput",
    "StreamScheduler",
    "StreamSession",
    "TenantStats",
    "UnsupportedFeatureError",
]


def __getattr__(name: str) -> Any:
    if name == "SamplingParams":
        from stream2llm_engine.vllm_adapter.sampling import SamplingParams

        return SamplingParams
    if name == "StreamScheduler":
        from stream2llm_engine.vllm_adapter.scheduler import StreamScheduler

        return StreamScheduler
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
