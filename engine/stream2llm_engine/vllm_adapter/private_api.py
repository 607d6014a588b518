"""Every vLLM name the adapter relies on that vLLM does not promise to keep.

A test compares this list with the installed vLLM, so that a new release fails here first and by
name. Parameters are listed where the adapter passes or overrides them. To look at a version that is
not installed, give its wheel:

    python -m stream2llm_engine.vllm_adapter.private_api vllm-0.33.0-….whl
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "CALLABLES",
    "INSTANCE_ATTRIBUTES",
    "VllmCallable",
    "find_drift",
    "installed_sources",
    "wheel_sources",
]

Sources = Callable[[str], str]
"""Gives the source text of a module by its dotted name, "" if there is none."""


class VllmCallable(NamedTuple):
    """A function or method and the parameters it must have, ``self`` and ``cls`` left out."""

    module: str
    name: str
    parameters: tuple[str, ...]


_SCHEDULER = "vllm.v1.core.sched.scheduler"
_MANAGER = "vllm.v1.core.kv_cache_manager"
_CLIENT = "vllm.v1.engine.core_client"
_CONNECTOR = "vllm.distributed.kv_transfer.kv_connector.v1.base"
_PARSER = "vllm.parser.abstract_parser"
_WORKER = "vllm.v1.worker.gpu_worker"

CALLABLES: tuple[VllmCallable, ...] = (
    VllmCallable(_SCHEDULER, "Scheduler.schedule", ("throttle_prefills",)),
    VllmCallable(
        _SCHEDULER,
        "Scheduler.update_from_output",
        ("scheduler_output", "model_runner_output"),
    ),
    VllmCallable(_SCHEDULER, "Scheduler.add_request", ("request",)),
    VllmCallable(_SCHEDULER, "Scheduler.finish_requests", ("request_ids", "finished_status")),
    VllmCallable(_SCHEDULER, "Scheduler._free_request", ("request", "delay_free_blocks")),
    VllmCallable(
        _SCHEDULER,
        "Scheduler._preempt_request",
        ("request", "timestamp", "drop_stale_output"),
    ),
    VllmCallable(
        _SCHEDULER,
        "Scheduler._reserve_prefill_lookahead",
        ("request", "num_computed_tokens", "num_new_tokens"),
    ),
    VllmCallable(_SCHEDULER, "Scheduler._get_local_prefix_cache_hit", ("request",)),
    VllmCallable(_SCHEDULER, "Scheduler._enqueue_waiting_request", ("request",)),
    VllmCallable(_SCHEDULER, "Scheduler._is_blocked_waiting_status", ("status",)),
    VllmCallable(_SCHEDULER, "Scheduler.get_request_counts", ()),
    VllmCallable(_SCHEDULER, "Scheduler.has_requests", ()),
    VllmCallable(_SCHEDULER, "Scheduler.has_finished_requests", ()),
    VllmCallable(_SCHEDULER, "Scheduler.set_pause_state", ("pause_state",)),
    VllmCallable(
        _SCHEDULER,
        "Scheduler.reset_prefix_cache",
        ("reset_running_requests", "reset_connector"),
    ),
    VllmCallable(_MANAGER, "KVCacheManager.free", ("request",)),
    VllmCallable(
        _MANAGER,
        "KVCacheManager.truncate_computed_blocks",
        ("blocks", "num_computed_tokens"),
    ),
    VllmCallable(_MANAGER, "KVCacheManager.prefix_cache_lookup_enabled", ("request",)),
    VllmCallable(
        "vllm.v1.core.kv_cache_coordinator",
        "KVCacheCoordinator.get_num_blocks_to_allocate",
        (
            "request_id",
            "num_tokens",
            "new_computed_blocks",
            "num_encoder_tokens",
            "total_computed_tokens",
            "num_local_computed_tokens",
            "num_tokens_main_model",
            "apply_admission_cap",
            "prefill_end",
        ),
    ),
    VllmCallable("vllm.v1.core.block_pool", "BlockPool.free_blocks", ("ordered_blocks",)),
    VllmCallable("vllm.v1.core.block_pool", "BlockPool.get_num_free_blocks", ()),
    VllmCallable("vllm.v1.core.block_pool", "BlockPool.get_new_blocks", ("num_blocks",)),
    VllmCallable(
        _CONNECTOR,
        "KVConnectorBase_V1.__init__",
        ("vllm_config", "role", "kv_cache_config"),
    ),
    VllmCallable(
        _CONNECTOR,
        "KVConnectorBase_V1.get_num_new_matched_tokens",
        ("request", "num_computed_tokens"),
    ),
    VllmCallable(
        _CONNECTOR,
        "KVConnectorBase_V1.update_state_after_alloc",
        ("request", "blocks", "num_external_tokens"),
    ),
    VllmCallable(_CONNECTOR, "KVConnectorBase_V1.build_connector_meta", ("scheduler_output",)),
    VllmCallable(_CONNECTOR, "KVConnectorBase_V1.update_connector_output", ("connector_output",)),
    VllmCallable(_CONNECTOR, "KVConnectorBase_V1.register_kv_caches", ("kv_caches",)),
    VllmCallable(_CONNECTOR, "KVConnectorBase_V1.handle_preemptions", ("kv_connector_metadata",)),
    VllmCallable(_CONNECTOR, "KVConnectorBase_V1.build_connector_worker_meta", ()),
    VllmCallable(_CONNECTOR, "KVConnectorBase_V1.requires_kv_delivery", ()),
    VllmCallable(_CONNECTOR, "SupportsHMA.request_finished_all_groups", ("request", "block_ids")),
    VllmCallable("vllm.v1.request", "Request.update_block_hashes", ()),
    VllmCallable(
        "vllm.v1.engine.output_processor",
        "OutputProcessor.add_request",
        ("request", "prompt", "parent_req", "request_index", "queue"),
    ),
    VllmCallable(
        "vllm.v1.engine.output_processor",
        "OutputProcessor.abort_requests",
        ("request_ids", "internal"),
    ),
    VllmCallable(
        "vllm.v1.engine.output_processor",
        "OutputProcessor.process_outputs",
        ("engine_core_outputs", "engine_core_timestamp", "iteration_stats", "weight_version"),
    ),
    VllmCallable(
        "vllm.v1.engine.output_processor",
        "OutputProcessor.__init__",
        ("tokenizer", "log_stats", "stream_interval", "tracing_enabled", "admission_stats"),
    ),
    VllmCallable("vllm.v1.engine.llm_engine", "LLMEngine.step", ()),
    VllmCallable(
        _CLIENT,
        "EngineCoreClient.make_async_mp_client",
        (
            "vllm_config",
            "executor_class",
            "log_stats",
            "client_addresses",
            "client_count",
            "client_index",
            "renderer",
        ),
    ),
    VllmCallable(_CLIENT, "AsyncMPClient.get_output_async", ()),
    VllmCallable(_CLIENT, "AsyncMPClient.add_request_async", ("request",)),
    VllmCallable(_CLIENT, "AsyncMPClient.abort_requests_async", ("request_ids",)),
    VllmCallable(
        _CLIENT,
        "AsyncMPClient.reset_prefix_cache_async",
        ("reset_running_requests", "reset_connector"),
    ),
    VllmCallable(_CLIENT, "MPClient.shutdown", ("timeout",)),
    VllmCallable("vllm.renderers.registry", "renderer_from_config", ("config",)),
    VllmCallable(
        "vllm.v1.engine.input_processor",
        "InputProcessor.__init__",
        ("vllm_config", "renderer", "mm_registry"),
    ),
    VllmCallable(
        "vllm.v1.engine.input_processor",
        "InputProcessor.process_inputs",
        (
            "request_id",
            "prompt",
            "params",
            "supported_tasks",
            "arrival_time",
            "lora_request",
            "tokenization_kwargs",
            "trace_headers",
            "priority",
            "data_parallel_rank",
            "resumable",
            "session_id",
            "kv_hints",
        ),
    ),
    VllmCallable(_WORKER, "Worker.sample_tokens", ("grammar_output",)),
    VllmCallable("vllm.v1.worker.gpu_input_batch", "InputBatch.num_reqs", ()),
    VllmCallable(
        "vllm.parser.parser_manager",
        "ParserManager.get_parser",
        (
            "tool_parser_name",
            "reasoning_parser_name",
            "enable_auto_tools",
            "model_name",
            "is_harmony",
            "tool_strict_level",
            "tokenizer",
        ),
    ),
    VllmCallable(_PARSER, "Parser.__init__", ("tokenizer", "tools", "model_config")),
    VllmCallable(_PARSER, "Parser.reasoning_parser", ()),
    VllmCallable(_PARSER, "DelegatingParser.adjust_request", ("request",)),
    VllmCallable(
        _PARSER,
        "DelegatingParser.parse_delta",
        ("delta_text", "delta_token_ids", "request", "prompt_token_ids", "finished"),
    ),
    VllmCallable(_PARSER, "DelegatingParser.count_reasoning_tokens", ("token_ids",)),
    VllmCallable(
        "vllm.entrypoints.openai.chat_completion.protocol",
        "ChatCompletionRequest.extract_structured_outputs",
        (),
    ),
    VllmCallable("vllm.tool_parsers.abstract_tool_parser", "ToolParserManager.list_registered", ()),
    VllmCallable(
        "vllm.reasoning.abs_reasoning_parsers", "ReasoningParserManager.list_registered", ()
    ),
)

# Set in `__init__`, so only the source tells whether they are still there.
INSTANCE_ATTRIBUTES: dict[tuple[str, str], tuple[str, ...]] = {
    (_SCHEDULER, "Scheduler"): (
        "running",
        "waiting",
        "kv_holding_waiting",
        "deferred_waiting",
        "requests",
        "finished_req_ids",
        "finished_req_ids_dict",
        "vllm_config",
        "reset_preempted_req_ids",
        "kv_cache_manager",
        "hash_block_size",
        "block_size",
        "connector",
        "defer_block_free",
        "kv_cache_config",
        "has_mamba_layers",
        "max_model_len",
        "max_num_active_reqs",
        "max_num_running_reqs",
        "max_num_scheduled_tokens",
        "num_lookahead_tokens",
        "num_prefill_lookahead",
        "scheduler_reserve_full_isl",
        "_inflight_prefills",
        "_pause_state",
    ),
    (_MANAGER, "KVCacheManager"): (
        "block_pool",
        "coordinator",
        "empty_kv_cache_blocks",
        "watermark_blocks",
    ),
    ("vllm.v1.core.single_type_kv_cache_manager", "SingleTypeKVCacheManager"): (
        "block_size",
        "num_cached_block",
        "req_to_blocks",
    ),
    ("vllm.v1.core.block_pool", "BlockPool"): ("blocks", "num_gpu_blocks"),
    ("vllm.v1.request", "Request"): (
        "_all_token_ids",
        "arrival_time",
        "block_hashes",
        "max_tokens",
        "num_computed_tokens",
        "num_in_flight_tokens",
        "num_output_placeholders",
        "num_preemptions",
        "num_prompt_tokens",
        "prefill_stats",
        "priority",
        "prompt_token_ids",
        "spec_token_ids",
        "structured_output_request",
    ),
    (_CLIENT, "MPClient"): ("core_engines",),
    (_WORKER, "Worker"): ("use_v2_model_runner",),
    ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner"): (
        "discard_request_mask",
        "input_batch",
    ),
    ("vllm.v1.worker.gpu_input_batch", "InputBatch"): ("generators",),
    ("vllm.v1.engine.llm_engine", "LLMEngine"): (
        "engine_core",
        "input_processor",
        "model_config",
        "output_processor",
    ),
}


def find_drift(sources: Sources | None = None) -> list[str]:
    """Return how a vLLM differs from what the adapter was written for.

    Args:
        sources: Where to read vLLM's modules; default: the installed one.
    """
    drift = []
    read = sources or installed_sources
    for entry in CALLABLES:
        where = f"{entry.module}.{entry.name}"
        function = _find(read(entry.module), entry.name.split("."))
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            drift.append(f"{where} is gone")
            continue
        arguments = function.args
        names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        found = tuple(a.arg for a in names if a.arg not in ("self", "cls"))
        if found != entry.parameters:
            drift.append(f"{where} takes {found}, not {entry.parameters}")
    for (module, class_name), attributes in INSTANCE_ATTRIBUTES.items():
        there = _assigned_attributes(_find(read(module), [class_name, "__init__"]))
        drift += [f"{module}.{class_name}.{a} is gone" for a in attributes if a not in there]
    return drift


def installed_sources(module: str) -> str:
    """Return the source of an installed module, without importing it."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return ""
    return _read(Path(spec.submodule_search_locations[0]).parent, module)


def wheel_sources(wheel: Path) -> Sources:
    """Return a reader of the modules in a wheel of another vLLM version."""
    archive = zipfile.ZipFile(wheel)
    members = set(archive.namelist())

    def read(module: str) -> str:
        name = module.replace(".", "/") + ".py"
        return archive.read(name).decode() if name in members else ""

    return read


def _read(root: Path, module: str) -> str:
    path = root / (module.replace(".", "/") + ".py")
    return path.read_text() if path.exists() else ""


def _find(source: str, names: list[str]) -> ast.AST | None:
    node: ast.AST | None = ast.parse(source)
    for name in names:
        node = next(
            (
                child
                for child in ast.iter_child_nodes(node or ast.Module([], []))
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and child.name == name
            ),
            None,
        )
    return node


def _assigned_attributes(function: ast.AST | None) -> set[str]:
    if function is None:
        return set()
    return {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def main() -> None:
    """Print the drift of the installed vLLM, or of the wheels given as arguments."""
    wheels = [Path(argument) for argument in sys.argv[1:]]
    readers: dict[str, Sources] = {w.name: wheel_sources(w) for w in wheels}
    for name, sources in (readers or {"installed vLLM": installed_sources}).items():
        drift = find_drift(sources)
        sys.stdout.write(f"{name}: {'supported' if not drift else 'NOT supported'}\n")
        sys.stdout.writelines(f"  {line}\n" for line in drift)


if __name__ == "__main__":
    main()
