"""What the facade asks of vLLM: session operations, ordinary requests, figures."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

from stream2llm_engine.errors import (
    EngineDeadError,
    InvalidRequestError,
    UnsupportedFeatureError,
)
from stream2llm_engine.outputs import EngineStats, StreamOutput
from stream2llm_engine.vllm_adapter.core_thread import CoreThread
from stream2llm_engine.vllm_adapter.integrity import find_violations
from stream2llm_engine.wire import Operation, OperationKind, Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from stream2llm_engine.channel import OutputChannel
    from stream2llm_engine.config import EngineConfig

__all__ = ["VllmBackend"]

# An operation has to carry a token; the scheduler ignores this one when `Operation.empty` is set.
_PLACEHOLDER = [0]


class VllmBackend:
    """vLLM behind its core thread. Every method may be called from any thread.

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
        self._core = CoreThread(config, secret, on_progress=on_progress, on_death=on_death)
        self._inputs: Any = None
        self._tasks: tuple[str, ...] = ()
        self.tokenizer: Any = None
        self.vocab_size = 0
        self.max_prompt_tokens = 0
        self.model_name = config.model

    def start(self) -> Future[None]:
        """Build the engine; the future ends when it takes requests."""
        self._core.start()
        return self._core.ready

    def adopt(self) -> None:
        """Read limits and tokenizer of the engine that was built; call once it is ready."""
        engine = self._core.ready.result(timeout=0)
        scheduler = engine.engine_core.engine_core.scheduler
        self._inputs = engine.input_processor
        self._tasks = self._core.call(lambda e: e.get_supported_tasks()).result()
        # A copy: vLLM detokenizes with its own in the core thread, and a fast tokenizer must not
        # change its truncation settings in one thread while another uses it.
        self.tokenizer = copy.deepcopy(engine.get_tokenizer())
        self.vocab_size = engine.model_config.get_vocab_size()
        self.max_prompt_tokens = scheduler.max_model_len - 1

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
        lora: Any,
        fail: Callable[[BaseException], None],
    ) -> None:
        """Send an operation that brings tokens."""
        from vllm import SamplingParams
        from vllm.v1.engine import EngineCoreRequest

        operation = Operation(kind=kind, sequence=sequence, secret=self._secret)
        request = EngineCoreRequest(
            request_id=session_id,
            prompt_token_ids=token_ids.copy(),
            mm_features=None,
            sampling_params=SamplingParams(max_tokens=1, extra_args=operation.encode()),
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=lora,
            cache_salt=None,
            data_parallel_rank=None,
        )
        self._core.post(lambda engine: engine.engine_core.add_request(request), fail=fail)

    def prepare(self, request_id: str, prompt: list[int], params: Any, *, lora: Any = None) -> Any:
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
        _refuse_unsupported(params)
        params = params.clone()
        params.output_kind = RequestOutputKind.DELTA
        try:
            request = self._inputs.process_inputs(
                request_id,
                tokens_input(prompt.copy()),
                params,
                supported_tasks=self._tasks,
                lora_request=lora,
            )
        except (TypeError, ValueError, VLLMError) as error:
            msg = f"vLLM refused the request: {error}"
            raise InvalidRequestError(msg) from error
        request.external_req_id = request_id
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
        wire = copy.copy(request)
        wire.prompt_token_ids = token_ids.copy() or _PLACEHOLDER.copy()
        wire.sampling_params = request.sampling_params.clone()
        wire.sampling_params.extra_args = {
            **(request.sampling_params.extra_args or {}),
            **operation.encode(),
        }

        def run(engine: Any) -> None:
            if request.request_id not in engine.engine_core.engine_core.scheduler.requests:
                # The scheduler failed or dropped the session; `fail` has been told why.
                return
            engine.output_processor.add_request(request, None, None, 0, channel)
            engine.engine_core.add_request(wire)

        self._core.post(run, fail=fail)

    def abort(self, request_id: str) -> None:
        """End a session or a request in any state; unknown ids and a dead engine are fine."""

        def run(engine: Any) -> None:
            engine.output_processor.abort_requests([request_id], internal=True)
            engine.engine_core.abort_requests([request_id])

        try:
            self._core.post(run, fail=lambda _: None)
        except EngineDeadError:
            return

    # -- ordinary requests -----------------------------------------------------------------------

    def generate(
        self, request: Any, channel: OutputChannel, *, fail: Callable[[BaseException], None]
    ) -> None:
        """Send an ordinary request made by :meth:`prepare`."""

        def run(engine: Any) -> None:
            engine.output_processor.add_request(request, None, None, 0, channel)
            engine.engine_core.add_request(request)

        self._core.post(run, fail=fail)

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

    def stats(self) -> Future[EngineStats]:
        """Return a snapshot taken between two steps."""
        return self._core.call(
            lambda engine: engine.engine_core.engine_core.scheduler.stream_stats()
        )

    def violations(self) -> Future[list[str]]:
        """Return what is inconsistent between two steps."""
        return self._core.call(
            lambda engine: find_violations(engine.engine_core.engine_core.scheduler)
        )

    def reset_prefix_cache(self) -> Future[bool]:
        """Forget every cached prefix; running requests are recomputed."""
        return self._core.call(
            lambda engine: engine.reset_prefix_cache(reset_running_requests=True)
        )


def _refuse_unsupported(params: Any) -> None:
    """Refuse what cannot work on a stream, at the call."""
    unsupported = {
        "n > 1 (open several sessions with the same tokens: they share the cached prefix)": (
            params.n > 1
        ),
        "prompt_logprobs (the prompt is computed before they are asked for)": (
            params.prompt_logprobs is not None
        ),
    }
    for what, asked in unsupported.items():
        if asked:
            msg = f"not available on streams: {what}"
            raise UnsupportedFeatureError(msg)
