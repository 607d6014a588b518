"""vLLM's core in a process of its own; one thread here talks to it through vLLM's async client.

The thread runs an event loop of its own, so nothing else touches the client and its sockets.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from stream2llm_engine.errors import EngineDeadError, Stream2LLMError
from stream2llm_engine.vllm_adapter.build import build_process_engine
from stream2llm_engine.vllm_adapter.core_request import operation_request
from stream2llm_engine.vllm_adapter.fan_out import family_ids
from stream2llm_engine.vllm_adapter.host import (
    Abort,
    Ask,
    Command,
    CoreHost,
    Reply,
    ResetPrefixCache,
    Submit,
)
from stream2llm_engine.vllm_adapter.questions import merged
from stream2llm_engine.vllm_adapter.reporting import take_report
from stream2llm_engine.wire import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream2llm_engine.config import EngineConfig
    from stream2llm_engine.vllm_adapter.build import ProcessEngine
    from stream2llm_engine.wire import Progress, Report

__all__ = ["ProcessCore"]

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Poll:
    """A question on its way to every data-parallel rank."""

    ask: Ask
    missing: int
    answers: list[Any]


class ProcessCore(CoreHost):
    """Carries out commands while another task takes the outputs."""

    def __init__(
        self,
        config: EngineConfig,
        secret: str,
        *,
        on_progress: Callable[[list[Progress]], None],
        on_death: Callable[[EngineDeadError], None],
    ) -> None:
        super().__init__(config, secret, on_progress=on_progress, on_death=on_death)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: asyncio.Queue[Command | None] = asyncio.Queue()
        self._engine: ProcessEngine
        self._polls: dict[str, _Poll] = {}
        self._resets: dict[asyncio.Task[bool], Reply[bool]] = {}

    def _enqueue(self, command: Command | None) -> None:
        if self._loop is not None:
            # A closed loop has failed everything that was waiting.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._inbox.put_nowait, command)

    # -- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        try:
            self._engine = build_process_engine(self._config, self._secret)
        except BaseException as error:  # noqa: BLE001 - handed to whoever starts the engine
            self._refuse(error)
            return
        self._loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(self._carry_out()),
            asyncio.create_task(self._take_outputs()),
        ]
        self._started.set_result(self._engine.parts)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        causes = [cause for task in done if (cause := task.exception()) is not None]
        if causes:
            self._die(causes[0])
        self._shut_down()
        unfinished = (*tasks, *self._resets)
        for waiting in unfinished:
            waiting.cancel()
        # What is cancelled gets a turn to end.
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _carry_out(self) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError as CoreDiedError

        while (command := await self._inbox.get()) is not None:
            try:
                await self._execute(command)
            except CoreDiedError:
                command.fail(self._close(_core_died()))
                raise
            except Exception as error:  # noqa: BLE001 - one caller's mistake must not end it
                command.fail(error)

    async def _execute(self, command: Command) -> None:
        engine = self._engine
        match command:
            case Submit(request=request, consumer=consumer):
                if consumer is not None:
                    consumer.register(engine.output_processor)
                await engine.client.add_request_async(request)
            case Abort(request_id=request_id):
                known = engine.output_processor.abort_requests(
                    family_ids(request_id), internal=True
                )
                await engine.client.abort_requests_async([request_id, *known])
            case Ask():
                await self._ask(command)
            case ResetPrefixCache(reply=reply):
                # Not awaited here: other commands go on while the core works on it.
                task = asyncio.create_task(engine.client.reset_prefix_cache_async(True))
                self._resets[task] = reply
                task.add_done_callback(self._on_reset)
            case _:
                assert_never(command)

    async def _ask(self, ask: Ask) -> None:
        ranks = len(self._engine.client.core_engines)
        poll = _Poll(ask, ranks, [])
        operation = Operation(kind=ask.question, sequence=0, secret=self._secret, empty=True)
        for rank in range(ranks):
            request_id = f"question-{uuid.uuid4().hex}"
            self._polls[request_id] = poll
            await self._engine.client.add_request_async(
                operation_request(request_id, operation, [], rank=rank if ranks > 1 else None)
            )

    def _on_reset(self, task: asyncio.Task[bool]) -> None:
        reply = self._resets.pop(task)
        if task.cancelled():
            reply.fail(self._close(_core_died()))
        elif (error := task.exception()) is not None:
            reply.fail(error)
        else:
            reply.give(task.result())

    async def _take_outputs(self) -> None:
        engine = self._engine
        while True:
            outputs = await engine.client.get_output_async()
            report = take_report(outputs)
            if report is not None:
                self._deliver(report)
            processed = engine.output_processor.process_outputs(
                outputs.outputs,
                engine_core_timestamp=outputs.timestamp,
                weight_version=outputs.weight_version,
            )
            # Their stop strings were found here, the core does not know yet.
            await engine.client.abort_requests_async(processed.reqs_to_abort)

    def _deliver(self, report: Report) -> None:
        for request_id, answer in report.answers.items():
            poll = self._polls.pop(request_id, None)
            if poll is None:
                continue
            if "error" in answer:
                poll.ask.fail(Stream2LLMError(f"the engine core failed: {answer['error']}"))
                continue
            poll.answers.append(answer["value"])
            poll.missing -= 1
            if not poll.missing:
                poll.ask.reply.give(merged(poll.ask.question, poll.answers))
        if report.progress:
            self._on_progress(report.progress)

    def _shut_down(self) -> None:
        error = self._close(EngineDeadError("the engine was closed; start a new one"))
        while not self._inbox.empty():
            command = self._inbox.get_nowait()
            if command is not None:
                command.fail(error)
        for poll in self._polls.values():
            poll.ask.fail(error)
        for reply in self._resets.values():
            reply.fail(error)
        try:
            self._engine.client.shutdown()
        except Exception:
            _logger.exception("vLLM did not shut down cleanly")


def _core_died() -> EngineDeadError:
    return EngineDeadError(
        "the engine core process stopped; close this engine, start a new one and send the "
        "requests again"
    )
