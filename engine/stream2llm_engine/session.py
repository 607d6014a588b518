"""One streaming session: a prompt that grows or changes until it is final."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from stream2llm_engine.channel import OutputChannel, wake
from stream2llm_engine.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    SessionClosedError,
    SessionTimeoutError,
    Stream2LLMError,
)
from stream2llm_engine.outputs import SessionState, SessionStats, StreamOutput
from stream2llm_engine.tokens import refuse_too_long, validated_token_ids
from stream2llm_engine.wire import OperationKind, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from stream2llm_engine.admission import Seat
    from stream2llm_engine.vllm_adapter.backend import VllmBackend

__all__ = ["OutputStream", "StreamSession"]


class StreamSession:
    """A prompt under construction; made by :meth:`StreamEngine.open_session`.

    Operations may come from any thread and event loop; they take effect in the order of the calls.
    Leaving ``async with session`` aborts it, as does dropping the last reference to it.

    Attributes:
        id: Unique id of the session.
        tenant: Whom the session belongs to.
    """

    def __init__(
        self,
        backend: VllmBackend,
        session_id: str,
        seat: Seat,
        *,
        sampling_params: Any,
        lora: Any,
        priority: int,
        max_prompt_tokens: int,
        opened_s: float,
        deadline_s: float | None = None,
        idle_timeout_s: float | None = None,
    ) -> None:
        self.id = session_id
        self.tenant = seat.tenant
        # Held while the session is open; whoever ends that gives it back.
        self._seat = seat
        self._backend = backend
        self._sampling_params = sampling_params
        self._lora = lora
        self._priority = priority
        self._lock = threading.Lock()
        self._state: SessionState = "open"
        self._why_closed = ""
        self._error: Stream2LLMError | None = None
        self._tokens: list[int] = []
        self._sequence = 0
        self._progress: Progress | None = None
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._channel: OutputChannel | None = None
        self._max_prompt_tokens = max_prompt_tokens
        self._opened_s = opened_s
        self._last_operation_s = time.monotonic()
        self._deadline_s = deadline_s
        self._idle_timeout_s = idle_timeout_s
        self._finalized_s: float | None = None
        self._output_tokens = 0

    # -- what is known ---------------------------------------------------------------------------

    @property
    def state(self) -> SessionState:
        """``"open"``, ``"finalized"``, ``"finished"``, ``"aborted"`` or ``"failed"``."""
        return self._state

    @property
    def prompt_token_ids(self) -> list[int]:
        """A copy of the prompt as it stands."""
        with self._lock:
            return list(self._tokens)

    @property
    def stats(self) -> SessionStats:
        """Counters as of the latest scheduler step that changed them."""
        progress = self._progress
        first = self._channel.first_output_s if self._channel else None
        final = self._finalized_s
        return SessionStats(
            prompt_tokens=len(self._tokens),
            prefilled_before_final=progress.prefilled_before_final if progress else 0,
            reused_tokens=progress.reused_tokens if progress else 0,
            invalidated_tokens=progress.invalidated_tokens if progress else 0,
            recomputed_tokens=progress.recomputed_tokens if progress else 0,
            preemptions=progress.preemptions if progress else 0,
            swaps=progress.swaps if progress else 0,
            output_tokens=self._output_tokens,
            ttft_s=None if first is None or final is None else first - final,
            time_to_first_token_s=None if first is None else first - self._opened_s,
        )

    @property
    def due_s(self) -> float | None:
        """When the session has to be ended (``time.monotonic``), or ``None`` if never."""
        due = []
        if self._state in ("open", "finalized") and self._deadline_s is not None:
            due.append(self._opened_s + self._deadline_s)
        if self._state == "open" and self._idle_timeout_s is not None:
            due.append(self._last_operation_s + self._idle_timeout_s)
        return min(due, default=None)

    # -- operations ------------------------------------------------------------------------------

    async def append(self, token_ids: Sequence[int]) -> None:
        """Extend the prompt. Returns when the operation is accepted, not when it is computed.

        Args:
            token_ids: Tokens to add, at least one.

        Raises:
            InvalidRequestError: No token, or one outside the vocabulary.
            PromptTooLongError: The prompt would outgrow the model length or the KV pool.
            SessionLimitError: The tenant's sessions would hold more than ``tenant_max_tokens``.
            SessionClosedError: The session is not open any more.
            EngineDeadError: The engine stopped.
        """
        ids = self._checked(token_ids, "append")
        with self._lock:
            self._require_open("append to")
            self._require_room(len(self._tokens) + len(ids))
            self._send(OperationKind.APPEND if self._tokens else OperationKind.OPEN, ids)
            self._tokens.extend(ids)

    async def update(self, token_ids: Sequence[int]) -> None:
        """Replace the whole prompt; KV past the longest common prefix is dropped.

        Args:
            token_ids: The new prompt, at least one token.

        Raises:
            InvalidRequestError: No token, or one outside the vocabulary.
            PromptTooLongError: The prompt would outgrow the model length or the KV pool.
            SessionLimitError: The tenant's sessions would hold more than ``tenant_max_tokens``.
            SessionClosedError: The session is not open any more.
            EngineDeadError: The engine stopped.
        """
        ids = self._checked(token_ids, "update")
        with self._lock:
            self._require_open("update")
            self._require_room(len(ids))
            self._send(OperationKind.UPDATE if self._tokens else OperationKind.OPEN, ids)
            self._tokens = ids

    async def wait_prefilled(self) -> None:
        """Wait until everything sent so far is computed, all but the held last token.

        Raises:
            SessionClosedError: The session was finalized, aborted or failed meanwhile.
            EngineDeadError: The engine stopped.
        """
        with self._lock:
            self._require_open("wait for")
            target = self._sequence
            if target == 0 or (self._progress and self._progress.prefilled_sequence >= target):
                return
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.append((target, loop, future))
        await future
        if self._error is not None:
            raise self._error
        progress = self._progress
        if progress is None or progress.prefilled_sequence < target:
            with self._lock:
                self._require_open("wait for")

    def finalize(self, token_ids: Sequence[int] = (), sampling_params: Any = None) -> OutputStream:
        """Send the last tokens, if any, and start decoding.

        The operation is sent by this call; the returned stream is iterated for the answer.

        Args:
            token_ids: Last tokens of the prompt (usually the question); may be empty.
            sampling_params: vLLM ``SamplingParams``; default: those given at open, else vLLM's.

        Returns:
            The answer as :class:`StreamOutput` deltas. Closing or dropping it early aborts.

        Raises:
            InvalidRequestError: The prompt is empty, or a token or parameter is wrong.
            UnsupportedFeatureError: A sampling feature that streams do not have.
            PromptTooLongError: The prompt would outgrow the model length or the KV pool.
            SessionClosedError: The session is not open any more.
            EngineDeadError: The engine stopped.
        """
        ids = validated_token_ids(token_ids, self._backend.vocab_size)
        with self._lock:
            self._require_open("finalize")
            prompt = self._tokens + ids
            if not prompt:
                msg = "cannot finalize an empty prompt: append tokens or pass them to finalize()"
                raise InvalidRequestError(msg)
            refuse_too_long(len(prompt), self._max_prompt_tokens)
            params = sampling_params if sampling_params is not None else self._sampling_params
            request = self._backend.prepare(
                self.id, prompt, params, tenant=self.tenant, lora=self._lora
            )
            if not self._tokens:
                self._send(OperationKind.OPEN, ids[:1])
                ids = ids[1:]
            channel = OutputChannel()
            self._finalized_s = time.monotonic()
            self._sequence += 1
            self._backend.finalize(request, ids, self._sequence, channel, fail=self._fail)
            self._tokens = prompt
            self._channel = channel
            self._state = "finalized"
            self._why_closed = "it was finalized"
            self._seat.leave()
            self._wake_waiters(everyone=True)
        return OutputStream(self, channel)

    async def abort(self) -> None:
        """End the session in any state and free what it holds. Idempotent, never raises."""
        self._abort("it was aborted")

    def expire(self, now_s: float) -> None:
        """Abort the session if its deadline or idle time-out has passed."""
        due = self.due_s
        if due is None or now_s < due:
            return
        deadline = self._deadline_s
        kind = SessionTimeoutError
        if deadline is not None and now_s >= self._opened_s + deadline:
            kind = DeadlineExceededError
            why = f"its deadline of {deadline} s passed"
        else:
            why = f"it got no operation for {self._idle_timeout_s} s (session_idle_timeout_s)"
        self._fail(kind(f"session {self.id} was aborted: {why}; open a new session"))
        self._backend.abort(self.id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._abort("its `async with` block was left")

    def __del__(self) -> None:
        if getattr(self, "_state", "aborted") == "open":
            self._abort("it was dropped")

    # -- core thread -----------------------------------------------------------------------------

    def _on_progress(self, progress: Progress) -> None:
        if progress.error is not None:
            self._fail(Stream2LLMError(f"session {self.id} failed in the engine: {progress.error}"))
            # A final operation on its way registers outputs that will never come.
            self._backend.abort(self.id)
        with self._lock:
            self._progress = progress
            self._wake_waiters()

    def _fail(self, error: BaseException) -> None:
        """End the session because of ``error``; every waiter and consumer gets it."""
        with self._lock:
            if self._state not in ("open", "finalized"):
                return
            self._state = "failed"
            self._why_closed = f"it failed: {error}"
            if isinstance(error, Stream2LLMError):
                self._error = error
            else:
                self._error = InvalidRequestError(f"vLLM refused the request: {error}")
            self._seat.leave()
            self._wake_waiters(everyone=True)
            channel = self._channel
        if channel is not None:
            channel.put(self._error)

    # -- helpers, under the lock -----------------------------------------------------------------

    def _send(self, kind: OperationKind, ids: list[int]) -> None:
        self._sequence += 1
        self._last_operation_s = time.monotonic()
        self._backend.send(
            self.id,
            kind,
            ids,
            self._sequence,
            tenant=self.tenant,
            priority=self._priority,
            lora=self._lora,
            fail=self._fail,
        )

    def _require_open(self, action: str) -> None:
        if self._state == "failed" and self._error is not None:
            raise self._error
        if self._state != "open":
            msg = f"cannot {action} session {self.id}: {self._why_closed}; open a new session"
            raise SessionClosedError(msg)

    def _require_room(self, tokens: int) -> None:
        refuse_too_long(tokens, self._max_prompt_tokens)
        self._seat.resize(tokens)

    def _wake_waiters(self, *, everyone: bool = False) -> None:
        done = self._progress.prefilled_sequence if self._progress else 0
        ready = [w for w in self._waiters if everyone or w[0] <= done]
        if ready:
            self._waiters = [w for w in self._waiters if w not in ready]
            for _, loop, future in ready:
                wake(loop, future)

    # -- helpers, no lock ------------------------------------------------------------------------

    def _checked(self, token_ids: Sequence[int], action: str) -> list[int]:
        ids = validated_token_ids(token_ids, self._backend.vocab_size)
        if not ids:
            msg = f"{action}() needs at least one token; to send nothing, do not call it"
            raise InvalidRequestError(msg)
        return ids

    def _abort(self, reason: str) -> None:
        with self._lock:
            if self._state not in ("open", "finalized"):
                return
            self._state = "aborted"
            self._why_closed = reason
            self._seat.leave()
            self._wake_waiters(everyone=True)
        self._backend.abort(self.id)

    def _delta(self, output: Any) -> tuple[StreamOutput, bool]:
        (completion,) = output.outputs
        self._output_tokens += len(completion.token_ids)
        if output.finished and self._state == "finalized":
            self._state = "finished"
            self._why_closed = "it has finished"
        return self._backend.to_delta(completion), bool(output.finished)


class OutputStream:
    """The answer of a finalized session, an async iterator of :class:`StreamOutput`."""

    def __init__(self, session: StreamSession, channel: OutputChannel) -> None:
        self._session = session
        self._channel = channel
        self._done = False

    def __aiter__(self) -> OutputStream:
        return self

    async def __anext__(self) -> StreamOutput:
        if self._done:
            raise StopAsyncIteration
        try:
            item = await self._channel.get()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if isinstance(item, BaseException):
            self._done = True
            raise item
        delta, self._done = self._session._delta(item)
        return delta

    async def aclose(self) -> None:
        """Stop early: the session is aborted and what it holds is freed. Idempotent."""
        if not self._done:
            self._done = True
            self._session._abort("its output stream was closed")

    def __del__(self) -> None:
        if not getattr(self, "_done", True):
            self._session._abort("its output stream was dropped")
