"""Configuration of a streaming engine."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from stream2llm_engine.errors import EngineConfigError, ProfileError
from stream2llm_engine.policies import Policy, policy_path
from stream2llm_engine.preemption import PreemptionMode  # noqa: TC001 - pydantic reads it
from stream2llm_profiles import HardwareProfile, ProfileFileError, load_profile

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
        policy: Order in which requests get tokens and KV blocks: ``"srpt"``, ``"fcfs"``,
            ``"lcas"``, ``"mcps"``, a :class:`~stream2llm_engine.policies.Policy` class, or its
            import path, ``"module:Class"``.
        profile: Prices of the hardware: the name of a shipped profile or the path of a file.
            ``None``: a rate is learned from the engine's own steps.
        preemption: What happens to evicted KV. ``"recompute"``: it is computed again.
            ``"swap"``: it is kept in host memory, as far as there is room. ``"auto"``: whichever is
            cheaper.
        swap_space_gib: Host memory for evicted KV in GiB, of all workers together. It is taken when
            it is needed.
        max_open_sessions: Open sessions beyond this wait, or raise ``SessionLimitError``.
        admission_queue: Calls of ``open_session`` that may wait for others to end, first come,
            first served.
        admission_timeout_s: How long one waits before it raises ``SessionLimitError``; ``None``:
            as long as it takes, or its ``deadline_s`` allows.
        tenant_max_sessions: Open sessions of each tenant, or by tenant; more raise
            ``SessionLimitError``.
        tenant_max_tokens: Prompt tokens in all open sessions of each tenant, or by tenant; more
            raise ``SessionLimitError``.
        tenant_weights: Share of the engine that each tenant gets while others wait, relative to
            theirs; 1 for those not listed.
        fair_share: Whether tenants take turns as soon as there is more than one; otherwise the
            policy alone decides.
        isolate_tenants: Never reuse one tenant's cached KV for another, so that timing tells no
            tenant what others have sent.
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
    policy: str = "srpt"
    profile: str | Path | None = None
    preemption: PreemptionMode = "auto"
    swap_space_gib: float = Field(default=4.0, ge=0)
    max_open_sessions: int = Field(default=10_000, gt=0)
    admission_queue: int = Field(default=0, ge=0)
    admission_timeout_s: float | None = Field(default=None, gt=0)
    tenant_max_sessions: PositiveInt | dict[str, PositiveInt] | None = None
    tenant_max_tokens: PositiveInt | dict[str, PositiveInt] | None = None
    tenant_weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    fair_share: bool = True
    isolate_tenants: bool = False
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

    @field_validator("policy", mode="before")
    @classmethod
    def _policy_can_be_found(cls, value: str | type[Policy]) -> str:
        return policy_path(value)

    @model_validator(mode="after")
    def _profile_can_be_loaded(self) -> Self:
        self.hardware_profile()
        return self

    @field_validator("vllm")
    @classmethod
    def _vllm_fields_are_free(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, reason in _OWNED_BY_US.items():
            if name in value:
                msg = f"{name!r} cannot be set here: {reason}"
                raise ValueError(msg)
        return dict(value)

    def hardware_profile(self) -> HardwareProfile | None:
        """Return the profile, or ``None`` if there is none.

        Raises:
            ProfileError: The profile is missing or malformed.
        """
        if self.profile is None:
            return None
        try:
            return load_profile(self.profile)
        except ProfileFileError as error:
            raise ProfileError(str(error)) from error
