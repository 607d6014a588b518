"""Build vLLM's engine parts in the calling thread."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from stream2llm_engine.errors import EngineConfigError, UnsupportedFeatureError
from stream2llm_engine.vllm_adapter.host import EngineParts
from stream2llm_engine.vllm_adapter.settings import StreamSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream2llm_engine.config import EngineConfig

__all__ = ["ProcessEngine", "build_engine", "build_process_engine", "refuse_unsupported"]

# vLLM's CPU default of 128 makes prefix reuse coarse; its kernels want multiples of 32.
_CPU_BLOCK_SIZE = 32
# vLLM's CPU default takes nearly all memory, which the application shares with it.
_CPU_KV_CACHE_BYTES = 4 * 2**30
_CPU_WORKER = "stream2llm_engine.vllm_adapter.cpu_worker.SeededCPUWorker"
_KV_SIZE_ARGUMENTS = {"kv_cache_memory_bytes", "gpu_memory_utilization", "num_gpu_blocks_override"}


class ProcessEngine(NamedTuple):
    """vLLM's parts of this process for a core in another."""

    parts: EngineParts
    output_processor: Any
    client: Any


def build_engine(config: EngineConfig, secret: str) -> Any:
    """Return vLLM's ``LLMEngine`` with its core in this thread.

    vLLM binds its OpenMP threads to the thread that builds the model, so the same thread has to
    step it.

    Raises:
        EngineConfigError: vLLM refused the model or an argument.
    """
    from vllm.v1.engine.llm_engine import LLMEngine

    with _typed_errors(config), _environment(core_process=False):
        return LLMEngine.from_engine_args(_engine_args(config, secret))


def build_process_engine(config: EngineConfig, secret: str) -> ProcessEngine:
    """Spawn vLLM's core process and return what talks to it; needs a running event loop.

    Raises:
        EngineConfigError: vLLM refused the model or an argument.
    """
    from vllm.renderers import renderer_from_config
    from vllm.transformers_utils.config import maybe_register_config_serialize_by_value
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.core_client import EngineCoreClient
    from vllm.v1.engine.input_processor import InputProcessor
    from vllm.v1.engine.output_processor import OutputProcessor
    from vllm.v1.executor import Executor

    with _typed_errors(config), _environment(core_process=True):
        vllm_config = _engine_args(config, secret).create_engine_config(UsageContext.LLM_CLASS)
        maybe_register_config_serialize_by_value()
        renderer = renderer_from_config(vllm_config)
        client = EngineCoreClient.make_async_mp_client(
            vllm_config, Executor.get_class(vllm_config), log_stats=False, renderer=renderer
        )
    return ProcessEngine(
        EngineParts(
            vllm_config.model_config,
            InputProcessor(vllm_config, renderer),
            renderer.get_tokenizer(),
        ),
        OutputProcessor(
            renderer.tokenizer,
            log_stats=False,
            stream_interval=vllm_config.scheduler_config.stream_interval,
        ),
        client,
    )


def refuse_unsupported(model_config: Any, *, has_mamba_layers: bool) -> None:
    """Refuse models whose KV cannot be cut and extended.

    Raises:
        UnsupportedFeatureError: The model cannot take streaming sessions.
    """
    reasons = {
        "models with Mamba layers": has_mamba_layers,
        "encoder-decoder models": model_config.is_encoder_decoder,
        "pooling models": model_config.runner_type != "generate",
        "multimodal models": model_config.is_multimodal_model,
    }
    for what, applies in reasons.items():
        if applies:
            msg = f"{what} cannot take streaming sessions: {model_config.model!r}"
            raise UnsupportedFeatureError(msg)


def _engine_args(config: EngineConfig, secret: str) -> Any:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform

    settings = StreamSettings.make(
        secret=secret,
        policy=config.policy,
        profile=config.hardware_profile(),
        remote=not config.in_process,
        preemption=config.preemption,
        swap_space_gib=config.swap_space_gib,
        tenant_weights=config.tenant_weights,
        fair_share=config.fair_share,
    )
    arguments: dict[str, Any] = {
        "disable_log_stats": True,
        "enable_prefix_caching": True,
        **config.vllm,
        "model": config.model,
        "scheduler_cls": "stream2llm_engine.StreamScheduler",
        # Rank lives in our policy; vLLM's "priority" would reorder the plan.
        "scheduling_policy": "fcfs",
        "additional_config": settings.added_to(config.vllm.get("additional_config", {})),
    }
    # Copies on other devices have not been run yet, so there they take an explicit "swap".
    trusted = current_platform.is_cpu() or current_platform.is_cuda()
    wanted = config.preemption == "swap" or (config.preemption == "auto" and trusted)
    if config.swap_space_gib > 0 and wanted:
        arguments["kv_transfer_config"] = _swap_connector(config)
    if current_platform.is_cpu():
        arguments.setdefault("block_size", _CPU_BLOCK_SIZE)
        arguments.setdefault("worker_cls", _CPU_WORKER)
        if not arguments.keys() & _KV_SIZE_ARGUMENTS:
            arguments["kv_cache_memory_bytes"] = _cpu_kv_cache_bytes()
    return EngineArgs(**arguments)


def _swap_connector(config: EngineConfig) -> Any:
    from vllm.config import KVTransferConfig

    theirs = config.vllm.get("kv_transfer_config")
    if theirs is not None and config.preemption == "swap":
        msg = (
            'preemption="swap" needs vLLM\'s KV connector slot, which kv_transfer_config takes: '
            'leave one of them out, or use preemption="recompute"'
        )
        raise EngineConfigError(msg)
    return theirs or KVTransferConfig(
        kv_connector="SwapConnector",
        kv_connector_module_path="stream2llm_engine.vllm_adapter.swap_connector",
        kv_role="kv_both",
    )


def _cpu_kv_cache_bytes() -> int:
    import psutil

    return int(min(_CPU_KV_CACHE_BYTES, psutil.virtual_memory().available // 4))


@contextmanager
def _typed_errors(config: EngineConfig) -> Iterator[None]:
    from vllm.exceptions import VLLMError

    try:
        yield
    except (OSError, TypeError, ValueError, RuntimeError, VLLMError) as error:
        msg = (
            f"vLLM could not start with model {config.model!r}: {error}\n"
            "Check that the model is a local directory or a hub id this machine can reach, and "
            "that every entry of EngineConfig.vllm is a field of vLLM's EngineArgs."
        )
        raise EngineConfigError(msg) from error


@contextmanager
def _environment(*, core_process: bool) -> Iterator[None]:
    """Tell vLLM where its core goes; these settings are process-wide, so they are put back.

    A forked copy of a process that has threads may hang, so worker processes are spawned. vLLM
    caches its environment with its first in-process engine, so that is set for both modes.
    """
    wanted = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1" if core_process else "0",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
