"""The public engine: sessions and ordinary requests on one vLLM."""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import threading
import time
import uuid
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar

from stream2llm_engine.admission import Admission
from stream2llm_engine.background_loop import BackgroundLoop
from stream2llm_engine.channel import OutputChannel
from stream2llm_engine.errors import (
    EngineConfigError,
    EngineDeadError,
    InvalidRequestError,
    PromptTooLongError,
    Stream2LLMError,
    UnsupportedFeatureError,
)
from stream2llm_engine.reaper import Reaper
from stream2llm_engine.session import StreamSession
from stream2llm_engine.tokens import refuse_too_long, validated_token_ids

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Sequence
    from types import TracebackType

    from stream2llm_engine.config import EngineConfig
    from stream2llm_engine.outputs import EngineStats, StreamOutput
    from stream2llm_engine.vllm_adapter.backend import VllmBackend
    from stream2llm_engine.wire import Progress

__all__ = ["StreamEngine"]

_T = TypeVar("_T")


class StreamEngine:
    """A vLLM engine that takes prompts while they are still arriving.

    Constructing it is cheap; the model loads on :meth:`start`, on entering ``async with``, or at
    the first use. It may be used from any number of threads and event loops.

    Args:
        config: What to run.

    Example:
        ```python
        async with StreamEngine(EngineConfig(model="…")) as engine:
            session = await engine.open_session(token_ids=prefix)
            await session.append(document)
            async for out in session.finalize(question, SamplingParams(max_tokens=64)):
                print(out.text, end="")
        ```
    """

    # vLLM's CPU backend binds threads and distributed state to the process.
    _running: weakref.ref[StreamEngine] | None = None
    _running_lock = threading.Lock()

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self._backend: VllmBackend | None = None
        self._start_lock = threading.Lock()
        self._ready = False
        self._closed = False
        self._dead: EngineDeadError | None = None
        self._loop = BackgroundLoop()
        self._reaper = Reaper()
        self._admission = Admission(config)
        self._sessions: weakref.WeakValueDictionary[str, StreamSession] = (
            weakref.WeakValueDictionary()
        )
        self._requests: dict[str, OutputChannel] = {}

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the model. Idempotent; concurrent calls wait for the same start.

        Raises:
            EngineConfigError: vLLM refuses the model or an argument, or another engine is running
                in this process.
            EngineDeadError: The engine was closed or has died.
        """
        if not self._ready:
            await asyncio.to_thread(self._start)
        self._require_alive()

    def _start(self) -> None:
        with self._start_lock:
            if self._ready or self._closed:
                return
            if importlib.util.find_spec("vllm") is None:
                msg = (
                    'vLLM is not installed: pip install "stream2llm-rag[cuda]" where there is an '
                    "NVIDIA GPU; the README says how to install the CPU build"
                )
                raise EngineConfigError(msg)
            self._claim_process()
            from stream2llm_engine.vllm_adapter.backend import VllmBackend

            backend = VllmBackend(
                self.config,
                secrets.token_hex(16),
                on_progress=self._on_progress,
                on_death=self._on_death,
            )
            try:
                backend.start()
            except BaseException:
                self._release_process()
                raise
            self._backend = backend
            self._ready = True

    async def aclose(self) -> None:
        """Abort every session, stop vLLM and free its memory. Idempotent."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Like :meth:`aclose`, for callers without an event loop."""
        with self._start_lock:
            if self._closed:
                return
            self._closed = True
        error = EngineDeadError("the engine was closed; start a new one")
        self._fail_everyone(error)
        if self._backend is not None:
            self._backend.stop()
        self._release_process()
        self._reaper.stop()
        self._loop.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # -- requests --------------------------------------------------------------------------------

    async def open_session(
        self,
        token_ids: Sequence[int] = (),
        sampling_params: Any = None,
        tenant: str = "default",
        deadline_s: float | None = None,
        lora: Any = None,
        *,
        priority: int = 0,
    ) -> StreamSession:
        """Open a session; its first tokens are computed at once, decoding waits for ``finalize``.

        Where ``max_open_sessions`` are open, the call waits for one of them to end, as far as
        ``admission_queue`` has room. A session counts as open until it is finalized or ends.

        Args:
            token_ids: First tokens of the prompt; may be empty.
            sampling_params: Default for :meth:`StreamSession.finalize`.
            tenant: Whom the session belongs to. Tenants take turns, event gaps are learned by
                tenant, and limits apply by tenant.
            deadline_s: Seconds from now within which the answer has to be complete; later the
                session is aborted with ``DeadlineExceededError``.
            lora: vLLM ``LoRARequest``; the engine needs ``vllm={"enable_lora": True}``.
            priority: The smallest goes first, before turns of tenants and the policy count. A
                session that always finds smaller ones ahead starves; that is the caller's choice.

        Raises:
            InvalidRequestError: A token is wrong.
            PromptTooLongError: The prompt can never fit.
            SessionLimitError: ``max_open_sessions`` are open and there is no room to wait, none
                ended in time, or the tenant has reached a limit of its own.
            DeadlineExceededError: The deadline passed while the call waited.
            EngineConfigError: The engine could not start.
            EngineDeadError: The engine stopped.
        """
        if deadline_s is not None and not deadline_s > 0:
            msg = f"deadline_s must be positive, got {deadline_s!r}"
            raise InvalidRequestError(msg)
        backend = await self._started()
        backend.check_lora(lora)
        limit = min(
            backend.max_prompt_tokens, self.config.max_session_tokens or backend.max_prompt_tokens
        )
        ids = validated_token_ids(token_ids, backend.vocab_size)
        refuse_too_long(len(ids), limit)
        opened_s = time.monotonic()
        session = StreamSession(
            backend,
            f"stream-{uuid.uuid4().hex}",
            await self._admission.enter(tenant, len(ids), deadline_s),
            sampling_params=sampling_params,
            lora=lora,
            priority=int(priority),
            max_prompt_tokens=limit,
            opened_s=opened_s,
            deadline_s=deadline_s,
            idle_timeout_s=self.config.session_idle_timeout_s,
        )
        self._sessions[session.id] = session
        try:
            self._require_alive()
            self._reaper.watch(session)
            if ids:
                await session.append(ids)
        except BaseException:
            await session.abort()
            raise
        return session

    async def generate(
        self, prompt: Any, sampling_params: Any = None, *, tenant: str = "default"
    ) -> AsyncGenerator[StreamOutput]:
        """Answer a complete prompt, as vLLM itself would.

        Args:
            prompt: Text, token ids, ``{"prompt": text}`` or ``{"prompt_token_ids": ids}``.
            sampling_params: vLLM ``SamplingParams``.
            tenant: Whom the request belongs to.

        Yields:
            The answer as deltas. Closing the iterator early aborts the request.

        Raises:
            InvalidRequestError: The prompt or a parameter is wrong.
            PromptTooLongError: The prompt can never fit.
            EngineDeadError: The engine stopped.
        """
        backend = await self._started()
        ids = await self._prompt_ids(backend, prompt)
        request_id = f"request-{uuid.uuid4().hex}"
        request = backend.prepare(request_id, ids, sampling_params, tenant=tenant)
        channel = OutputChannel()
        self._requests[request_id] = channel
        finished = False
        try:
            backend.generate(request, channel, fail=channel.put)
            while not finished:
                item = await channel.get()
                if isinstance(item, BaseException):
                    finished = True
                    raise _as_stream_error(item)
                finished = item.finished
                for completion in item.outputs:
                    yield backend.to_delta(completion)
        finally:
            self._requests.pop(request_id, None)
            if not finished:
                backend.abort(request_id)

    # -- figures ---------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, a copy that is yours to use in any thread.

        Raises:
            EngineDeadError: The engine was not started yet or has stopped.
        """
        if self._backend is None or not self._ready:
            msg = "the engine has no tokenizer yet: `await engine.start()` first"
            raise EngineDeadError(msg)
        return self._backend.tokenizer

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt the engine takes, in tokens."""
        if self._backend is None or not self._ready:
            msg = "the engine has no limits yet: `await engine.start()` first"
            raise EngineDeadError(msg)
        return self._backend.max_prompt_tokens

    async def stats(self) -> EngineStats:
        """Return a snapshot of the engine between two steps."""
        backend = await self._started()
        return await backend.stats()

    async def check_integrity(self) -> None:
        """Check block conservation, reference counts and queues, for tests and health checks.

        Raises:
            Stream2LLMError: Something is inconsistent; the message lists it.
        """
        backend = await self._started()
        violations = await backend.violations()
        if violations:
            msg = "the engine is inconsistent, please report this: " + "; ".join(violations)
            raise Stream2LLMError(msg)

    async def reset_prefix_cache(self) -> bool:
        """Forget every cached prefix; sessions go on and are recomputed where needed.

        Returns:
            Whether the cache was reset.
        """
        backend = await self._started()
        return await backend.reset_prefix_cache()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run ``coroutine`` on the engine's own event loop and wait, for synchronous callers."""
        return self._loop.run(coroutine)

    # -- helpers ---------------------------------------------------------------------------------

    async def _started(self) -> VllmBackend:
        await self.start()
        assert self._backend is not None
        return self._backend

    def _require_alive(self) -> None:
        if self._dead is not None:
            raise EngineDeadError(str(self._dead)) from self._dead.__cause__
        if self._closed:
            msg = "the engine was closed; start a new one"
            raise EngineDeadError(msg)

    async def _prompt_ids(self, backend: VllmBackend, prompt: Any) -> list[int]:
        if isinstance(prompt, dict):
            prompt = prompt.get("prompt_token_ids", prompt.get("prompt"))
        if isinstance(prompt, str):
            prompt = (await asyncio.to_thread(backend.tokenizer, prompt))["input_ids"]
        if prompt is None:
            msg = 'prompt must be text, token ids, {"prompt": …} or {"prompt_token_ids": …}'
            raise UnsupportedFeatureError(msg)
        ids = validated_token_ids(prompt, backend.vocab_size)
        if not ids:
            msg = "the prompt is empty: pass at least one token"
            raise InvalidRequestError(msg)
        if len(ids) > backend.max_prompt_tokens:
            msg = (
                f"the prompt has {len(ids)} tokens, the engine takes at most "
                f"{backend.max_prompt_tokens}: shorten it, or raise max_model_len or the KV cache"
            )
            raise PromptTooLongError(msg)
        return ids

    def _on_progress(self, reports: list[Progress]) -> None:
        for report in reports:
            session = self._sessions.get(report.session_id)
            if session is not None:
                session._on_progress(report)

    def _on_death(self, error: EngineDeadError) -> None:
        self._dead = error
        self._fail_everyone(error)

    def _fail_everyone(self, error: EngineDeadError) -> None:
        self._admission.close(error)
        for session in list(self._sessions.values()):
            session._fail(error)
        for channel in list(self._requests.values()):
            channel.put(error)

    def _claim_process(self) -> None:
        with StreamEngine._running_lock:
            other = StreamEngine._running() if StreamEngine._running else None
            if other is not None and other is not self:
                msg = (
                    "another StreamEngine is running in this process: share it, "
                    "or `await other.aclose()` first"
                )
                raise EngineConfigError(msg)
            StreamEngine._running = weakref.ref(self)

    def _release_process(self) -> None:
        with StreamEngine._running_lock:
            if StreamEngine._running is not None and StreamEngine._running() is self:
                StreamEngine._running = None


def _as_stream_error(error: BaseException) -> BaseException:
    if isinstance(error, Stream2LLMError) or not isinstance(error, Exception):
        return error
    return InvalidRequestError(f"vLLM refused the request: {error}")
