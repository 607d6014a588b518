"""Configuration of a streaming engine."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from stream2llm_engine.errors import EngineConfigError

__all__ = ["EngineConfig"]

_OWNED_BY_US = {
    "scheduler_cls": "it is the plug-in itself",
    "scheduling_policy": "set `policy` instead",
    "model": "set `model` on the config",
    "skip_tokenizer_init": "sessions need the tokenizer to detokenize answers",
}


class EngineConfig(BaseModel):
    """How to build a :class:`~stream2llm_engine.StreamEngine`. Frozen, validated once.

    Attributes:
        model: Directory or hub id of the model.
        policy: Order in which requests get tokens and KV blocks. ``"fcfs"``: finalized requests
            first, each group by arrival.
        preemption: What happens to evicted KV. ``"recompute"``: it is computed again.
        max_open_sessions: Open sessions beyond this raise ``SessionLimitError``.
        max_session_tokens: Longest prompt of a session in tokens, below the engine's own limit.
        session_idle_timeout_s: An open session without an operation for this many seconds is
            aborted with ``SessionTimeoutError``.
        in_process: Run vLLM's engine core in a thread of this process; ``False``: in vLLM's own
            core process, which is spawned, so that a script needs ``if __name__ == "__main__"``.
        vllm: Any field of vLLM's ``EngineArgs``. On CPU the KV cache takes 4 GiB, or a quarter of
            what is free, unless ``kv_cache_memory_bytes`` says otherwise.

    Raises:
        EngineConfigError: A value is wrong; the message says which and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    policy: Literal["fcfs"] = "fcfs"
    preemption: Literal["recompute"] = "recompute"
    max_open_sessions: int = Field(default=10_000, gt=0)
    max_session_tokens: int | None = Field(default=None, gt=0)
    session_idle_timeout_s: float | None = Field(default=None, gt=0)
    in_process: bool = True
    vllm: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'config'}: {item['msg']}"
                for item in error.errors()
            )
            msg = f"EngineConfig is not valid: {problems}"
            raise EngineConfigError(msg) from error

    @field_validator("model", mode="before")
    @classmethod
    def _model_is_text(cls, value: object) -> str:
        text = str(value).strip()
        if not text:
            msg = "give the directory or the hub id of a model"
            raise ValueError(msg)
        return text

    @field_validator("vllm")
    @classmethod
    def _vllm_fields_are_free(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, reason in _OWNED_BY_US.items():
            if name in value:
                msg = f"{name!r} cannot be set here: {reason}"
                raise ValueError(msg)
        return dict(value)
