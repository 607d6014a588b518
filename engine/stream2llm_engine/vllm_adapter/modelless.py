"""vLLM's real scheduler and KV cache manager without a model, for simulations and tests."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from vllm.sampling_params import SamplingParams
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm.v1.core.sched.scheduler import Scheduler

__all__ = [
    "build_scheduler",
    "modelless_request",
    "request_hasher",
    "runner_output",
    "scheduler_class",
]

_S = TypeVar("_S", bound="Scheduler")


def build_scheduler(
    scheduler_class: type[_S],
    *,
    blocks: int,
    block_size: int,
    token_budget: int,
    max_requests: int,
    max_model_len: int,
    prefix_caching: bool,
    asynchronous: bool = False,
) -> _S:
    """Return a scheduler over a pool of ``blocks`` KV blocks, one of which vLLM keeps for itself.

    Args:
        scheduler_class: vLLM's scheduler or a subclass.
        blocks: Size of the pool.
        block_size: Tokens per block.
        token_budget: Tokens a step may compute (``max_num_batched_tokens``).
        max_requests: Requests the model runner can hold (``max_num_seqs``).
        max_model_len: Longest sequence in tokens.
        prefix_caching: Whether vLLM caches prefixes.
        asynchronous: Schedule as on GPUs, one step ahead of the results.
    """
    import torch
    from vllm.config import DeviceConfig, VllmConfig
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    # vLLM warns about every configuration without a model.
    logging.getLogger("vllm").setLevel(logging.ERROR)
    config = VllmConfig(device_config=DeviceConfig("cpu"))
    config.model_config = _NoModel(max_model_len)
    config.cache_config.num_gpu_blocks = blocks
    config.cache_config.block_size = block_size
    config.cache_config.enable_prefix_caching = prefix_caching
    scheduling = config.scheduler_config
    scheduling.async_scheduling = asynchronous
    scheduling.max_num_batched_tokens = token_budget
    scheduling.max_num_scheduled_tokens = token_budget
    scheduling.max_num_seqs = max_requests
    scheduling.max_model_len = max_model_len
    scheduling.enable_chunked_prefill = True
    spec = FullAttentionSpec(
        block_size=block_size, num_kv_heads=1, head_size=1, dtype=torch.float32
    )
    scheduler: _S = scheduler_class(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(
            num_blocks=blocks,
            kv_cache_tensors=[],
            kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
        ),
        structured_output_manager=StructuredOutputManager(config),
        block_size=block_size,
        hash_block_size=block_size,
    )
    return scheduler


def scheduler_class(policy: str) -> type[Scheduler]:
    """Return the scheduler for a policy or for the baselines ``stock`` and ``blocking``."""
    from vllm.v1.core.sched.scheduler import Scheduler

    from stream2llm_engine.vllm_adapter.scheduler import SyncStreamScheduler
    from stream2llm_engine.vllm_adapter.stock_order import StockOrderScheduler

    baselines: dict[str, type[Scheduler]] = {"stock": StockOrderScheduler, "blocking": Scheduler}
    return baselines.get(policy, SyncStreamScheduler)


def runner_output(sampled: dict[str, list[int]]) -> ModelRunnerOutput:
    """Return what a model runner gives back for a step that sampled these tokens."""
    return ModelRunnerOutput(
        req_ids=list(sampled),
        req_id_to_index={request_id: index for index, request_id in enumerate(sampled)},
        sampled_token_ids=list(sampled.values()),
        logprobs=None,
        prompt_logprobs_dict={},
        pooler_output=[],
    )


def request_hasher(block_size: int) -> Callable[[Request], Any]:
    """Return what hashes the blocks of a request for the prefix cache."""
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash

    init_none_hash(sha256)
    hasher: Callable[[Request], Any] = get_request_block_hasher(block_size, sha256)
    return hasher


def modelless_request(
    request_id: str,
    token_ids: list[int],
    *,
    arrival_s: float,
    max_tokens: int = 1,
    extra_args: dict[str, Any] | None = None,
    hasher: Callable[[Request], Any] | None = None,
    priority: int = 0,
    cache_salt: str | None = None,
) -> Request:
    """Return vLLM's request for a prompt; ``extra_args`` may carry a session operation."""
    return Request(
        request_id=request_id,
        prompt_token_ids=token_ids,
        sampling_params=SamplingParams(
            max_tokens=max_tokens, ignore_eos=True, extra_args=extra_args
        ),
        pooling_params=None,
        arrival_time=arrival_s,
        block_hasher=hasher,
        priority=priority,
        cache_salt=cache_salt,
    )


class _NoModel(SimpleNamespace):
    """The few fields of a model configuration that the scheduler reads."""

    def __init__(self, max_model_len: int) -> None:
        super().__init__(
            max_model_len=max_model_len,
            skip_tokenizer_init=True,
            is_multimodal_model=False,
            supports_multimodal_inputs=False,
            is_encoder_decoder=False,
            is_diffusion=False,
            uses_mrope=False,
            multimodal_config=None,
            runner_type="generate",
            return_sampling_mask=False,
            enable_return_routed_experts=False,
        )
