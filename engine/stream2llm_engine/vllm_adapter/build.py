"""Build vLLM's engine parts in the calling thread."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stream2llm_engine.errors import EngineConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream2llm_engine.config import EngineConfig

__all__ = ["build_engine"]

_IN_PROCESS = "VLLM_ENABLE_V1_MULTIPROCESSING"
# vLLM's CPU default of 128 makes prefix reuse coarse; its kernels want multiples of 32.
_CPU_BLOCK_SIZE = 32


def build_engine(config: EngineConfig, secret: str) -> Any:
    """Return vLLM's ``LLMEngine`` with its core in this thread.

    vLLM binds its OpenMP threads to the thread that builds the model, so the same thread has to
    step it.

    Raises:
        EngineConfigError: vLLM refused the model or an argument.
        UnsupportedFeatureError: The model cannot take streaming sessions.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.exceptions import VLLMError
    from vllm.platforms import current_platform
    from vllm.v1.engine.llm_engine import LLMEngine

    arguments: dict[str, Any] = {
        "disable_log_stats": True,
        "enable_prefix_caching": True,
        **config.vllm,
        "model": config.model,
        "scheduler_cls": "stream2llm_engine.StreamScheduler",
        # Rank lives in our policy; vLLM's "priority" would reorder the plan.
        "scheduling_policy": "fcfs",
    }
    if current_platform.is_cpu():
        arguments.setdefault("block_size", _CPU_BLOCK_SIZE)
    try:
        with _core_in_this_process():
            engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
    except (OSError, TypeError, ValueError, RuntimeError, VLLMError) as error:
        msg = (
            f"vLLM could not start with model {config.model!r}: {error}\n"
            "Check that the model is a local directory or a hub id this machine can reach, and "
            "that every entry of EngineConfig.vllm is a field of vLLM's EngineArgs."
        )
        raise EngineConfigError(msg) from error
    scheduler = engine.engine_core.engine_core.scheduler
    _refuse_unsupported(engine, scheduler)
    scheduler.configure_streams(secret=secret, policy=config.policy)
    return engine


def _refuse_unsupported(engine: Any, scheduler: Any) -> None:
    from stream2llm_engine.errors import UnsupportedFeatureError

    model = engine.model_config
    reasons = {
        "models with Mamba layers": scheduler.has_mamba_layers,
        "encoder-decoder models": model.is_encoder_decoder,
        "pooling models": model.runner_type != "generate",
    }
    for what, applies in reasons.items():
        if applies:
            msg = f"{what} cannot take streaming sessions: {model.model!r}"
            raise UnsupportedFeatureError(msg)


@contextmanager
def _core_in_this_process() -> Iterator[None]:
    """Ask vLLM for an in-process core; the setting is process-wide, so it is put back."""
    before = os.environ.get(_IN_PROCESS)
    os.environ[_IN_PROCESS] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_IN_PROCESS]
        else:
            os.environ[_IN_PROCESS] = before
