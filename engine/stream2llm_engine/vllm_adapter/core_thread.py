"""The one thread that builds vLLM's engine and steps it."""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from stream2llm_engine.errors import EngineDeadError
from stream2llm_engine.vllm_adapter.build import build_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream2llm_engine.config import EngineConfig
    from stream2llm_engine.wire import Progress

__all__ = ["CoreThread"]

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

# Between two steps that computed nothing although a request waits for a grammar to compile.
_STALL_PAUSE_S = 0.002


class _Command(NamedTuple):
    run: Callable[[Any], None]
    fail: Callable[[BaseException], None]


class CoreThread:
    """Runs commands between steps, in the order they were posted, and steps while there is work.

    Args:
        config: What to build.
        secret: What session operations have to carry.
        on_progress: Called in this thread after a step, with what changed for sessions.
        on_death: Called once in this thread if a step fails; the engine is gone then.
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
        self._inbox: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        # Reentrant: a session that is collected while the lock is held posts its own abort.
        self._lock = threading.RLock()
        self._closed: EngineDeadError | None = None
        self._engine: Any = None
        self.ready: Future[Any] = Future()
        self._thread = threading.Thread(target=self._run, name="stream2llm-core", daemon=True)

    def start(self) -> Future[Any]:
        """Start building; the future gives vLLM's engine, or the typed error."""
        self._thread.start()
        return self.ready

    def post(self, run: Callable[[Any], None], *, fail: Callable[[BaseException], None]) -> None:
        """Run ``run(engine)`` before the next step.

        Args:
            run: What to do, in the core thread.
            fail: Called in the core thread with what ``run`` raised, or with the reason why it
                never ran.

        Raises:
            EngineDeadError: The engine stopped.
        """
        with self._lock:
            if self._closed is not None:
                raise EngineDeadError(str(self._closed)) from self._closed.__cause__
            self._inbox.put(_Command(run, fail))

    def call(self, function: Callable[[Any], _T]) -> Future[_T]:
        """Run ``function(engine)`` before the next step and give its result.

        Raises:
            EngineDeadError: The engine stopped.
        """
        future: Future[_T] = Future()

        def run(engine: Any) -> None:
            if future.set_running_or_notify_cancel():
                future.set_result(function(engine))

        self.post(run, fail=future.set_exception)
        return future

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop after the commands posted so far; idempotent."""
        self._close(EngineDeadError("the engine was closed; start a new one"))
        self._inbox.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    # -- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._engine = build_engine(self._config, self._secret)
        except BaseException as error:  # noqa: BLE001 - handed to whoever starts the engine
            self._close(EngineDeadError(f"the engine did not start: {error}"))
            self.ready.set_exception(error)
            return
        self.ready.set_result(self._engine)
        try:
            self._loop()
        except BaseException as error:  # noqa: BLE001 - any failure of a step ends the engine
            self._die(error)
        finally:
            self._shut_down()

    def _loop(self) -> None:
        core = self._engine.engine_core.engine_core
        scheduler = core.scheduler
        scheduler.progress_sink = self._on_progress
        while True:
            has_work = scheduler.has_requests() or bool(core.batch_queue)
            stalled = has_work and scheduler.last_step_tokens == 0
            if not self._run_commands(has_work=has_work, stalled=stalled):
                return
            if scheduler.has_requests() or core.batch_queue:
                self._engine.step()
            if reports := scheduler.take_progress():
                self._on_progress(reports)

    def _run_commands(self, *, has_work: bool, stalled: bool) -> bool:
        """Run what was posted; wait for something if there is no work. False means stop."""
        try:
            if not has_work:
                command = self._inbox.get()
            elif stalled:
                command = self._inbox.get(timeout=_STALL_PAUSE_S)
            else:
                command = self._inbox.get_nowait()
            while True:
                if command is None:
                    return False
                self._execute(command)
                command = self._inbox.get_nowait()
        except queue.Empty:
            return True

    def _execute(self, command: _Command) -> None:
        try:
            command.run(self._engine)
        except Exception as error:  # noqa: BLE001 - one caller's mistake must not end the engine
            command.fail(error)

    def _close(self, error: EngineDeadError) -> None:
        with self._lock:
            self._closed = self._closed or error

    def _die(self, cause: BaseException) -> None:
        _logger.error("the engine core stopped: %r", cause)
        error = EngineDeadError(
            f"the engine core stopped ({type(cause).__name__}: {cause}); "
            "close this engine, start a new one and send the requests again"
        )
        error.__cause__ = cause
        self._close(error)
        self._on_death(error)

    def _shut_down(self) -> None:
        self._close(EngineDeadError("the engine was closed; start a new one"))
        while True:
            try:
                command = self._inbox.get_nowait()
            except queue.Empty:
                break
            if command is not None:
                command.fail(self._closed or EngineDeadError("the engine was closed"))
        try:
            self._engine.engine_core.shutdown()
        except Exception:
            _logger.exception("vLLM did not shut down cleanly")
        self._engine = None
