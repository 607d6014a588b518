"""What the two homes of vLLM's core have in common: a thread, its commands, its end."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from stream2llm_engine.errors import EngineDeadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream2llm_engine.channel import OutputChannel
    from stream2llm_engine.config import EngineConfig
    from stream2llm_engine.wire import OperationKind, Progress

__all__ = [
    "Abort",
    "Ask",
    "Command",
    "Consumer",
    "CoreHost",
    "EngineParts",
    "Reply",
    "ResetPrefixCache",
    "Submit",
]

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class EngineParts(NamedTuple):
    """What the facade reads of vLLM's engine; safe to use in any thread."""

    model_config: Any
    input_processor: Any
    tokenizer: Any


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who gets the outputs of a request: vLLM's complete request, and where they go.

    Attributes:
        request: vLLM's request with the complete prompt.
        channel: Where its outputs go.
        parent: vLLM's bookkeeping of several answers to one prompt, or ``None``.
        index: Which of the answers it is.
    """

    request: Any
    channel: OutputChannel
    parent: Any = None
    index: int = 0

    def register(self, output_processor: Any) -> None:
        """Let vLLM's output processor know the request before its first output."""
        output_processor.add_request(self.request, None, self.parent, self.index, self.channel)


class Reply(Generic[_T]):
    """The result of a command; whoever waits for it may have given up."""

    def __init__(self) -> None:
        self.future: Future[_T] = Future()

    def give(self, value: _T) -> None:
        """Set the result."""
        with suppress(InvalidStateError):
            self.future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Set an error instead of the result."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Submit:
    """Send a request, or an operation in the form of one."""

    request: Any
    fail: Callable[[BaseException], None]
    consumer: Consumer | None = None


@dataclass(frozen=True, slots=True)
class Abort:
    """End a request in any state; unknown ids are fine."""

    request_id: str

    def fail(self, error: BaseException) -> None:
        """Nothing to do: what should end has ended."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the scheduler."""

    question: OperationKind
    reply: Reply[Any]

    def fail(self, error: BaseException) -> None:
        """Tell whoever waits for the answer."""
        self.reply.fail(error)


@dataclass(frozen=True, slots=True)
class ResetPrefixCache:
    """Forget every cached prefix; running requests are recomputed."""

    reply: Reply[bool]

    def fail(self, error: BaseException) -> None:
        """Tell whoever waits for the result."""
        self.reply.fail(error)


Command = Submit | Abort | Ask | ResetPrefixCache


class CoreHost(ABC):
    """A thread that builds vLLM, carries out commands in the order they were posted, and steps.

    Args:
        config: What to build.
        secret: What session operations have to carry.
        on_progress: Called in the thread, with what changed for sessions.
        on_death: Called once in the thread if the engine stops by itself.
    """

    def __init__(
        self,
        config: EngineConfig,
        secret: str,
        *,
        on_progress: Callable[[list[Progress]], None],
        on_death: Callable[[EngineDeadError], None],
    ) -> None:
        self._config = config
        self._secret = secret
        self._on_progress = on_progress
        self._on_death = on_death
        # Reentrant: a session that is collected while the lock is held posts its own abort.
        self._lock = threading.RLock()
        self._closed: EngineDeadError | None = None
        self._started: Future[EngineParts] = Future()
        self._thread = threading.Thread(target=self._run, name="stream2llm-core", daemon=True)

    def start(self) -> Future[EngineParts]:
        """Start building; the future gives the parts of vLLM's engine, or the typed error."""
        self._thread.start()
        return self._started

    def post(self, command: Command) -> None:
        """Carry out ``command`` as soon as possible; ``command.fail`` gets what went wrong.

        Raises:
            EngineDeadError: The engine stopped.
        """
        with self._lock:
            if self._closed is not None:
                raise EngineDeadError(str(self._closed)) from self._closed.__cause__
            self._enqueue(command)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop after the commands posted so far; idempotent."""
        with self._lock:
            self._close(EngineDeadError("the engine was closed; start a new one"))
            self._enqueue(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    @abstractmethod
    def _run(self) -> None:
        """Build and run vLLM until the end; the target of the thread."""

    @abstractmethod
    def _enqueue(self, command: Command | None) -> None:
        """Hand a command to the thread; ``None`` ends it. Never blocks."""

    # -- in the thread ---------------------------------------------------------------------------

    def _refuse(self, error: BaseException) -> None:
        """The engine could not be built."""
        self._close(EngineDeadError(f"the engine did not start: {error}"))
        self._started.set_exception(error)

    def _close(self, error: EngineDeadError) -> EngineDeadError:
        """Take no more commands; the first reason stays."""
        with self._lock:
            self._closed = self._closed or error
            return self._closed

    def _die(self, cause: BaseException) -> None:
        _logger.error("the engine core stopped: %r", cause)
        error = EngineDeadError(
            f"the engine core stopped ({type(cause).__name__}: {cause}); "
            "close this engine, start a new one and send the requests again"
        )
        error.__cause__ = cause
        self._on_death(self._close(error))
