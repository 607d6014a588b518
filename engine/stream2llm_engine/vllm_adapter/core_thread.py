"""vLLM's core in this process: one thread builds it and steps it."""

from __future__ import annotations

import logging
import queue
from typing import TYPE_CHECKING, Any, assert_never

from stream2llm_engine.errors import EngineDeadError
from stream2llm_engine.vllm_adapter.build import build_engine
from stream2llm_engine.vllm_adapter.fan_out import family_ids
from stream2llm_engine.vllm_adapter.host import (
    Abort,
    Ask,
    Command,
    CoreHost,
    EngineParts,
    ResetPrefixCache,
    Submit,
)
from stream2llm_engine.vllm_adapter.questions import answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream2llm_engine.config import EngineConfig
    from stream2llm_engine.wire import Progress

__all__ = ["CoreThread"]

_logger = logging.getLogger(__name__)

# Between two steps that computed nothing although a request waits for a grammar to compile.
_STALL_PAUSE_S = 0.002


class CoreThread(CoreHost):
    """Carries out commands between steps, and steps while there is work."""

    def __init__(
        self,
        config: EngineConfig,
        secret: str,
        *,
        on_progress: Callable[[list[Progress]], None],
        on_death: Callable[[EngineDeadError], None],
    ) -> None:
        super().__init__(config, secret, on_progress=on_progress, on_death=on_death)
        self._inbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._engine: Any = None

    def _enqueue(self, command: Command | None) -> None:
        self._inbox.put(command)

    # -- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._engine = build_engine(self._config, self._secret)
            parts = EngineParts(
                self._engine.model_config,
                self._engine.input_processor,
                self._engine.get_tokenizer(),
            )
        except BaseException as error:  # noqa: BLE001 - handed to whoever starts the engine
            self._refuse(error)
            return
        self._started.set_result(parts)
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
                try:
                    self._execute(command)
                except Exception as error:  # noqa: BLE001 - one caller's mistake must not end it
                    command.fail(error)
                command = self._inbox.get_nowait()
        except queue.Empty:
            return True

    def _execute(self, command: Command) -> None:
        engine = self._engine
        match command:
            case Submit(request=request, consumer=consumer):
                if consumer is not None:
                    consumer.register(engine.output_processor)
                engine.engine_core.add_request(request)
            case Abort(request_id=request_id):
                known = engine.output_processor.abort_requests(
                    family_ids(request_id), internal=True
                )
                engine.engine_core.abort_requests([request_id, *known])
            case Ask(question=question, reply=reply):
                reply.give(answer(engine.engine_core.engine_core.scheduler, question))
            case ResetPrefixCache(reply=reply):
                reply.give(engine.reset_prefix_cache(reset_running_requests=True))
            case _:
                assert_never(command)

    def _shut_down(self) -> None:
        error = self._close(EngineDeadError("the engine was closed; start a new one"))
        while True:
            try:
                command = self._inbox.get_nowait()
            except queue.Empty:
                break
            if command is not None:
                command.fail(error)
        try:
            self._engine.engine_core.shutdown()
        except Exception:
            _logger.exception("vLLM did not shut down cleanly")
        self._engine = None
