"""Drives the real scheduler and KV cache manager without a model."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import torch
from vllm.config import DeviceConfig, VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from stream2llm_engine.planner import StepPlan
from stream2llm_engine.vllm_adapter.integrity import find_violations
from stream2llm_engine.vllm_adapter.scheduler import StreamScheduler
from stream2llm_engine.wire import Operation, OperationKind
from tests.engine.shadow_runner import ShadowRunner, next_token

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SchedulerHarness"]

BLOCK_SIZE = 16
SECRET = "test-secret"

init_none_hash(sha256)
# One warning a configuration, which would bury a failing example.
logging.getLogger("vllm").setLevel(logging.ERROR)
_HASHER = get_request_block_hasher(BLOCK_SIZE, sha256)


def _vllm_config(blocks: int, max_model_len: int, *, prefix_caching: bool) -> Any:
    config = VllmConfig(device_config=DeviceConfig("cpu"))
    # The scheduler reads a handful of fields of a model configuration that needs no model.
    config.model_config = MagicMock()
    for name, value in {
        "skip_tokenizer_init": True,
        "is_multimodal_model": False,
        "supports_multimodal_inputs": False,
        "is_encoder_decoder": False,
        "is_diffusion": False,
        "max_model_len": max_model_len,
        "enable_return_routed_experts": False,
    }.items():
        setattr(config.model_config, name, value)
    config.cache_config = MagicMock()
    config.cache_config.num_gpu_blocks = blocks
    config.cache_config.enable_prefix_caching = prefix_caching
    config.scheduler_config.async_scheduling = False
    return config


class SchedulerHarness:
    """One scheduler with a shadow runner, and the client's view of its sessions.

    Args:
        blocks: KV blocks of 16 tokens, one of which vLLM keeps for itself.
        token_budget: Tokens a step may compute.
        slots: Requests the runner can hold.
        prefix_caching: Whether vLLM caches prefixes.
        asynchronous: Schedule a step before the results of the one before it are known, and keep
            requests in slots as the V2 model runner does; what vLLM does on GPUs.
    """

    def __init__(
        self,
        *,
        blocks: int = 40,
        token_budget: int = 128,
        slots: int = 8,
        prefix_caching: bool = True,
        max_model_len: int = 512,
        asynchronous: bool = False,
    ) -> None:
        config = _vllm_config(blocks, max_model_len, prefix_caching=prefix_caching)
        config.scheduler_config.async_scheduling = asynchronous
        spec = FullAttentionSpec(
            block_size=BLOCK_SIZE, num_kv_heads=1, head_size=1, dtype=torch.float32
        )
        self.scheduler: Any = StreamScheduler(
            vllm_config=config,
            kv_cache_config=KVCacheConfig(
                num_blocks=blocks,
                kv_cache_tensors=[],
                kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
            ),
            structured_output_manager=StructuredOutputManager(config),
            block_size=BLOCK_SIZE,
            hash_block_size=BLOCK_SIZE,
        )
        self.scheduler.is_mm_encoder_only = False  # read off the mock as true
        self.scheduler.configure_streams(secret=SECRET, policy="fcfs")
        self.scheduler.max_num_scheduled_tokens = token_budget
        self.scheduler.max_num_running_reqs = self.scheduler.max_num_active_reqs = slots
        self.scheduler.use_v2_model_runner = asynchronous
        self.runner = ShadowRunner(BLOCK_SIZE, slots=slots if asynchronous else None)
        self.depth = 2 if asynchronous else 1
        self._in_flight: deque[tuple[Any, Any]] = deque()
        self.prompts: dict[str, list[int]] = {}
        self.open: set[str] = set()
        self.asked: dict[str, int] = {}
        self.answers: dict[str, list[int]] = {}
        self.finished: set[str] = set()
        self._sequence: dict[str, int] = {}
        self._fruitless = 0

    # -- what a client does ----------------------------------------------------------------------

    def send(
        self,
        kind: OperationKind,
        request_id: str,
        tokens: Sequence[int],
        *,
        max_tokens: int = 1,
        secret: str = SECRET,
    ) -> None:
        """Send one operation, as the facade would."""
        self._sequence[request_id] = self._sequence.get(request_id, 0) + 1
        operation = Operation(
            kind=kind, sequence=self._sequence[request_id], secret=secret, empty=not tokens
        )
        self._add(request_id, tokens or [0], max_tokens, operation.encode())

    def open_session(self, request_id: str, tokens: Sequence[int]) -> None:
        self.prompts[request_id] = list(tokens)
        self.open.add(request_id)
        self.send(OperationKind.OPEN, request_id, tokens)

    def append(self, request_id: str, tokens: Sequence[int]) -> None:
        self.prompts[request_id] = self.prompts[request_id] + list(tokens)
        self.send(OperationKind.APPEND, request_id, tokens)

    def update(self, request_id: str, tokens: Sequence[int]) -> None:
        self.prompts[request_id] = list(tokens)
        self.send(OperationKind.UPDATE, request_id, tokens)

    def finalize(self, request_id: str, tokens: Sequence[int] = (), *, max_tokens: int = 3) -> None:
        self.prompts[request_id] = self.prompts[request_id] + list(tokens)
        self.open.discard(request_id)
        self.asked[request_id] = max_tokens
        self.answers[request_id] = []
        self.send(OperationKind.FINALIZE, request_id, tokens, max_tokens=max_tokens)

    def ordinary(self, request_id: str, tokens: Sequence[int], *, max_tokens: int = 3) -> None:
        self.prompts[request_id] = list(tokens)
        self.asked[request_id] = max_tokens
        self.answers[request_id] = []
        self._add(request_id, tokens, max_tokens, None)

    def abort(self, request_id: str) -> None:
        self.open.discard(request_id)
        self.asked.pop(request_id, None)
        self.scheduler.finish_requests(request_id, RequestStatus.FINISHED_ABORTED)

    def _add(
        self, request_id: str, tokens: Sequence[int], max_tokens: int, extra_args: Any
    ) -> None:
        self.scheduler.add_request(
            Request(
                request_id=request_id,
                prompt_token_ids=list(tokens),
                sampling_params=SamplingParams(
                    max_tokens=max_tokens, ignore_eos=True, extra_args=extra_args
                ),
                pooling_params=None,
                arrival_time=time.time(),
                block_hasher=_HASHER,
            )
        )

    # -- what the engine does --------------------------------------------------------------------

    def step(self) -> dict[str, int]:
        """Schedule, "compute" and take the results; return the tokens scheduled by request."""
        output = self.scheduler.schedule()
        result = self.runner.execute(output)
        for request_id, sampled in zip(result.req_ids, result.sampled_token_ids, strict=True):
            if sampled and request_id in self.open:
                self.runner.violations.append(f"{request_id} was sampled while open")
        waits = any(i not in self.finished for i in self.asked)
        self._fruitless = self._fruitless + 1 if waits and not output.num_scheduled_tokens else 0
        if self._fruitless > self.depth + 1:
            self.runner.violations.append("a final prompt is left and nothing is scheduled")
        self._in_flight.append((output, result))
        while len(self._in_flight) >= self.depth:
            self.deliver()
        return dict(output.num_scheduled_tokens)

    def evict(self, request_id: str, blocks: int) -> None:
        """Take tail blocks of a request, as a plan would for another one."""
        wanted = self.scheduler.stream_stats().free_blocks + blocks
        self.scheduler._evict(StepPlan(reserved_blocks=wanted, victims=[request_id]))

    def deliver(self) -> None:
        """Take the results of the oldest step in flight, if there is one."""
        if not self._in_flight:
            return
        output, result = self._in_flight.popleft()
        outputs = self.scheduler.update_from_output(output, result)
        for batch in outputs.values():
            for item in batch.outputs:
                self.answers.setdefault(item.request_id, []).extend(item.new_token_ids)
                if item.finish_reason is not None:
                    self.finished.add(item.request_id)

    def run(self, limit: int = 400) -> int:
        """Step until nothing can be scheduled any more; return the number of steps."""
        idle = 0
        for count in range(limit):
            if not self.scheduler.has_requests() and not self._in_flight:
                return count
            if self.scheduler.has_requests():
                idle = 0 if self.step() else idle + 1
            else:
                self.deliver()
            if idle > self.depth:
                return count
        msg = f"still busy after {limit} steps"
        raise AssertionError(msg)

    def computed(self, request_id: str) -> int:
        return int(self.scheduler.requests[request_id].num_computed_tokens)

    def check(self) -> None:
        """Raise if an invariant is broken or an answer is wrong."""
        assert find_violations(self.scheduler) == []
        assert self.runner.violations == []
        assert self.scheduler.stream_stats().preemptions["builtin"] == 0
        for request_id, answer in self.answers.items():
            tokens = list(self.prompts[request_id])
            for token in answer:
                assert token == next_token(tokens), f"{request_id} answered from a wrong prompt"
                tokens.append(token)

    def check_drained(self) -> None:
        """Raise unless everything asked for was answered and every block came back."""
        self.check()
        for request_id, count in self.asked.items():
            assert len(self.answers[request_id]) == count, f"{request_id} was not answered"
        stats = self.scheduler.stream_stats()
        assert not self.scheduler.requests
        assert stats.free_blocks == stats.total_blocks
