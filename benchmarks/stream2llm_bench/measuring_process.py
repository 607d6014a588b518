"""A process of its own for whatever is measured, and calls into it.

One process runs one engine, and two that take turns live in two: the idle one waits for its next
call without using any CPU.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from stream2llm_rag.errors import RagError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType

__all__ = ["Home", "MeasurementError", "MeasuringProcess"]

Home: TypeAlias = Callable[..., AbstractAsyncContextManager[Callable[[Any], Awaitable[Any]]]]
"""Builds what is measured and gives what answers a call. A function of a module, not of a call."""

_STOP_S = 30.0
_LOG_CHARACTERS = 4_000


class MeasurementError(RagError):
    """A measuring process failed, died or took too long; the message holds what it said."""


class MeasuringProcess:
    """Starts ``home`` in a spawned process; leaving the block ends it and all that it started.

    Args:
        home: What to start there.
        arguments: Of ``home``; they are pickled.
        timeout_s: How long the start, or one call, may take.
    """

    def __init__(self, home: Home, *arguments: Any, timeout_s: float = 300.0) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = home.__name__
        self._timeout_s = timeout_s
        self._connection, theirs = context.Pipe()
        # Closed with the process.
        self._log = tempfile.NamedTemporaryFile(prefix="stream2llm-bench-", suffix=".log")  # noqa: SIM115
        # Not a daemon: vLLM starts processes of its own there, which a daemon may not.
        self._process = context.Process(
            target=_run, args=(theirs, Path(self._log.name), home, arguments)
        )
        self._process.start()
        theirs.close()
        self._started = False

    def start(self) -> None:
        """Wait until it is ready for calls, which the first call does as well.

        Raises:
            MeasurementError: It could not start.
        """
        if not self._started:
            self._receive()
            self._started = True

    def ask(self, call: Any) -> Any:
        """Return the answer to one call.

        Args:
            call: Passed on as it is; pickled, as is the answer.

        Raises:
            MeasurementError: The call failed there, or the process died.
        """
        self.start()
        with suppress(BrokenPipeError):  # what it said before it died is still to be read
            self._connection.send(call)
        return self._receive()

    def _receive(self) -> Any:
        if not self._connection.poll(self._timeout_s):
            msg = (
                f"{self._name} gave no answer within {self._timeout_s:.0f} s: measure again when "
                f"the machine has nothing else to do\n{self._said()}"
            )
            raise MeasurementError(msg)
        try:
            failed, answer = self._connection.recv()
        except EOFError as error:
            self._process.join(_STOP_S)
            msg = (
                f"the process of {self._name} died with exit code {self._process.exitcode} (-9: "
                f"the system is short of memory, or somebody killed it)\n{self._said()}"
            )
            raise MeasurementError(msg) from error
        if failed:
            msg = f"{self._name} failed in its process:\n{answer}\n{self._said()}"
            raise MeasurementError(msg)
        return answer

    def _said(self) -> str:
        text = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
        return f"Its log ends with:\n{text[-_LOG_CHARACTERS:]}"

    def close(self) -> None:
        """End the process and all that it started. Idempotent."""
        with suppress(OSError):
            self._connection.send(None)
        self._process.join(_STOP_S)
        self._kill()

    def _kill(self) -> None:
        self._connection.close()
        self._log.close()
        # A group of its own, so that children whose parent died are found as well.
        assert self._process.pid is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._kill()


def _run(connection: Connection, log: Path, home: Home, arguments: tuple[Any, ...]) -> None:
    os.setpgrp()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Before anything there imports vLLM: figures, not logs, are what this is for.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with suppress(BrokenPipeError):  # nobody listens any more
        try:
            asyncio.run(_serve(connection, home, arguments))
        except Exception:  # noqa: BLE001 - raised to whoever asked
            connection.send((True, traceback.format_exc()))


async def _serve(connection: Connection, home: Home, arguments: tuple[Any, ...]) -> None:
    async with home(*arguments) as answer:
        connection.send((False, None))
        while True:
            try:
                call = await asyncio.to_thread(connection.recv)
            except EOFError:
                return
            if call is None:
                return
            connection.send((False, await answer(call)))
