"""What the facade asks of vLLM: session operations, ordinary requests, figures."""

from __future__ import annotations

import asyncio
import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stream2llm_engine.errors import (
    EngineDeadError,
    InvalidRequestError,
    UnsupportedFeatureError,
)
from stream2llm_engine.outputs import EngineStats, StreamOutput
from stream2llm_engine.vllm_adapter.build import refuse_unsupported
from stream2llm_engine.vllm_adapter.core_request import PLACEHOLDER, operation_request
from stream2llm_engine.vllm_adapter.core_thread import CoreThread
from stream2llm_engine.vllm_adapter.fan_out import fan_out
from stream2llm_engine.vllm_adapter.host import (
    Abort,
    Ask,
    CoreHost,
    EngineParts,
    Reply,
    ResetPrefixCache,
    Submit,
)
from stream2llm_engine.vllm_adapter.process_core import ProcessCore
from stream2llm_engine.vllm_adapter.reasoning import REASONING_PARSER_KWARGS
from stream2llm_engine.wire import Operation, OperationKind, Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from stream2llm_engine.channel import OutputChannel
    from stream2llm_engine.config import EngineConfig

__all__ = ["VllmBackend"]


class VllmBackend:
    """vLLM behind the thread that talks to its core. Methods may be called from any thread.

    Args:
        config: What to build.
        secret: What session operations carry.
        on_progress: Called in the core thread with what changed for sessions.
        on_death: Called once in the core thread if the engine stops by itself.
    """

    def __init__(
        self,
        config: EngineConfig,
        secret: str,
        *,
        on_progress: Callable[[list[Progress]], None],
        on_death: Callable[[EngineDeadError], None],
    ) -> None:
        self._secret = secret
        home = CoreThread if config.in_process else ProcessCore
        self._core: CoreHost = home(config, secret, on_progress=on_progress, on_death=on_death)
        self._inputs: Any = None
        self.tokenizer: Any = None
        self.vocab_size = 0
        self.max_prompt_tokens = 0
        self.model_name = config.model
        self._isolates_tenants = config.isolate_tenants

    def start(self) -> None:
        """Build the engine and read its limits and its tokenizer.

        Raises:
            EngineConfigError: vLLM refused the model or an argument.
            UnsupportedFeatureError: The model cannot take streaming sessions.
        """
        parts: EngineParts = self._core.start().result()
        limits = self._ask(OperationKind.ASK_LIMITS).result()
        try:
            refuse_unsupported(parts.model_config, has_mamba_layers=limits["has_mamba_layers"])
        except UnsupportedFeatureError:
            self.stop()
            raise
        self._inputs = parts.input_processor
        # A copy: vLLM detokenizes with its own in the core thread, and a fast tokenizer must not
        # change its truncation settings in one thread while another uses it.
        self.tokenizer = copy.deepcopy(parts.tokenizer)
        self.vocab_size = parts.model_config.get_vocab_size()
        self.max_prompt_tokens = limits["max_model_len"] - 1

    def stop(self) -> None:
        """Shut vLLM down and wait for it."""
        self._core.stop()

    # -- sessions --------------------------------------------------------------------------------

    def check_lora(self, lora: Any) -> None:
        """Refuse a LoRA request that the core could not carry out.

        Raises:
            InvalidRequestError: It is none, or the engine was started without LoRA.
        """
        from vllm.lora.request import LoRARequest

        if lora is None:
            return
        if not isinstance(lora, LoRARequest):
            msg = f"lora must be vllm.lora.request.LoRARequest, got {type(lora).__name__}"
            raise InvalidRequestError(msg)
        if self._inputs.lora_config is None:
            msg = 'this engine has no LoRA: start it with EngineConfig(vllm={"enable_lora": True})'
            raise InvalidRequestError(msg)

    def send(
        self,
        session_id: str,
        kind: OperationKind,
        token_ids: list[int],
        sequence: int,
        *,
        tenant: str,
        priority: int,
        lora: Any,
        fail: Callable[[BaseException], None],
    ) -> None:
        """Send an operation that brings tokens."""
        operation = Operation(
            kind=kind, sequence=sequence, secret=self._secret, tenant=tenant, priority=priority
        )
        request = operation_request(
            session_id, operation, token_ids, lora=lora, cache_salt=self._cache_salt(tenant)
        )
        self._core.post(Submit(request, fail))

    def prepare(
        self, request_id: str, prompt: list[int], params: Any, *, tenant: str, lora: Any = None
    ) -> Any:
        """Return vLLM's request for a complete prompt, with its parameters validated.

        Raises:
            InvalidRequestError: vLLM refuses a parameter.
            UnsupportedFeatureError: A feature that streams do not have.
        """
        from vllm import SamplingParams
        from vllm.exceptions import VLLMError
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        if params is None:
            params = SamplingParams()
        elif not isinstance(params, SamplingParams):
            msg = (
                f"sampling_params must be vllm.SamplingParams, got {type(params).__name__}; "
                "build it with stream2llm_engine.SamplingParams(...)"
            )
            raise InvalidRequestError(msg)
        _refuse_unsupported_sampling(params)
        params = params.clone()
        params.output_kind = RequestOutputKind.DELTA
        extra_args = dict(params.extra_args or {})
        reasoning_parser_kwargs = extra_args.pop(REASONING_PARSER_KWARGS, None)
        whose = Operation(
            kind=OperationKind.GENERATE, sequence=0, secret=self._secret, tenant=tenant
        )
        params.extra_args = {**extra_args, **whose.encode()}
        try:
            request = self._inputs.process_inputs(
                request_id,
                tokens_input(prompt.copy(), cache_salt=self._cache_salt(tenant)),
                params,
                supported_tasks=("generate",),
                lora_request=lora,
            )
        except (TypeError, ValueError, VLLMError) as error:
            msg = f"vLLM refused the request: {error}"
            raise InvalidRequestError(msg) from error
        request.external_req_id = request_id
        request.reasoning_parser_kwargs = reasoning_parser_kwargs
        return request

    def finalize(
        self,
        request: Any,
        token_ids: list[int],
        sequence: int,
        channel: OutputChannel,
        *,
        fail: Callable[[BaseException], None],
    ) -> None:
        """Send the last operation of a session.

        Args:
            request: What :meth:`prepare` gave for the complete prompt.
            token_ids: Tokens that the session does not have yet; may be empty.
            sequence: Position of the operation in its session.
            channel: Where outputs go.
            fail: Called in the core thread if the operation cannot be applied.
        """
        operation = Operation(
            kind=OperationKind.FINALIZE,
            sequence=sequence,
            secret=self._secret,
            empty=not token_ids,
        )
        first, *others = fan_out(request, channel)
        wire = copy.copy(first.request)
        wire.prompt_token_ids = token_ids.copy() or list(PLACEHOLDER)
        wire.sampling_params = first.request.sampling_params.clone()
        wire.sampling_params.extra_args = {
            **(first.request.sampling_params.extra_args or {}),
            **operation.encode(),
        }
        self._core.post(Submit(wire, fail, first))
        for other in others:
            self._core.post(Submit(other.request, fail, other))

    def abort(self, request_id: str) -> None:
        """End a session or a request in any state; unknown ids and a dead engine are fine."""
        with suppress(EngineDeadError):
            self._core.post(Abort(request_id))

    # -- ordinary requests -----------------------------------------------------------------------

    def generate(
        self, request: Any, channel: OutputChannel, *, fail: Callable[[BaseException], None]
    ) -> None:
        """Send an ordinary request made by :meth:`prepare`."""
        for consumer in fan_out(request, channel):
            self._core.post(Submit(consumer.request, fail, consumer))

    @staticmethod
    def to_delta(completion: Any) -> StreamOutput:
        """Return vLLM's ``CompletionOutput`` as ours."""
        return StreamOutput(
            index=completion.index,
            text=completion.text,
            token_ids=tuple(completion.token_ids),
            logprobs=completion.logprobs,
            cumulative_logprob=completion.cumulative_logprob if completion.logprobs else None,
            finish_reason=completion.finish_reason,
            stop_reason=completion.stop_reason,
        )

    # -- figures ---------------------------------------------------------------------------------

    async def stats(self) -> EngineStats:
        """Return a snapshot taken between two steps."""
        values = await asyncio.wrap_future(self._ask(OperationKind.ASK_STATS))
        return EngineStats.of(values)

    async def violations(self) -> list[str]:
        """Return what is inconsistent between two steps."""
        found: list[str] = await asyncio.wrap_future(self._ask(OperationKind.ASK_VIOLATIONS))
        return found

    async def reset_prefix_cache(self) -> bool:
        """Forget every cached prefix; running requests are recomputed."""
        reply: Reply[bool] = Reply()
        self._core.post(ResetPrefixCache(reply))
        return await asyncio.wrap_future(reply.future)

    def _cache_salt(self, tenant: str) -> str | None:
        return tenant if self._isolates_tenants else None

    def _ask(self, question: OperationKind) -> Future[Any]:
        reply: Reply[Any] = Reply()
        self._core.post(Ask(question, reply))
        return reply.future


def _refuse_unsupported_sampling(params: Any) -> None:
    """Refuse what cannot work on a stream, at the call."""
    if params.prompt_logprobs is not None:
        msg = (
            "prompt_logprobs are not available on streams: the prompt is computed before they are "
            "asked for; use generate() of vLLM itself"
        )
        raise UnsupportedFeatureError(msg)
