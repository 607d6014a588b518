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
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from stream2llm_rag.errors import RagError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType

__all__ = ["Home", "MeasurementError", "MeasuringProcess", "report_progress"]

Home: TypeAlias = Callable[..., AbstractAsyncContextManager[Callable[[Any], Awaitable[Any]]]]
"""Builds what is measured and gives what answers a call. A function of a module, not of a call."""

_Kind: TypeAlias = Literal["answer", "failure", "progress"]

_STOP_S = 30.0
_LOG_CHARACTERS = 4_000


class MeasurementError(RagError):
    """A measuring process failed, died or took too long; the message holds what it said."""


class MeasuringProcess:
    """Starts ``home`` in a spawned process; leaving the block ends it and all that it started.

    Args:
        home: What to start there.
        arguments: Of ``home``; they are pickled.
        timeout_s: How long the start, or one call, may take without a sign of life.
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

    def ask(
        self,
        call: Any,
        *,
        timeout_s: float | None = None,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """Return the answer to one call.

        Args:
            call: Passed on as it is; pickled, as is the answer.
            timeout_s: How long this one may take without a sign of life.
            on_progress: Called with what is reported meanwhile.

        Raises:
            MeasurementError: The call failed there, or the process died or said nothing.
        """
        self.start()
        with suppress(BrokenPipeError):  # what it said before it died is still to be read
            self._connection.send(call)
        return self._receive(timeout_s, on_progress)

    def _receive(
        self, timeout_s: float | None = None, on_progress: Callable[[Any], None] | None = None
    ) -> Any:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        while True:
            kind, said = self._next(timeout_s)
            if kind == "answer":
                return said
            if kind == "failure":
                msg = f"{self._name} failed in its process:\n{said}\n{self._said()}"
                raise MeasurementError(msg)
            if on_progress is not None:
                on_progress(said)

    def _next(self, timeout_s: float) -> tuple[_Kind, Any]:
        if not self._connection.poll(timeout_s):
            msg = (
                f"{self._name} gave no answer within {timeout_s:.0f} s: measure again when "
                f"the machine has nothing else to do\n{self._said()}"
            )
            raise MeasurementError(msg)
        try:
            message: tuple[_Kind, Any] = self._connection.recv()
        except EOFError as error:
            self._process.join(_STOP_S)
            msg = (
                f"the process of {self._name} died with exit code {self._process.exitcode} (-9: "
                f"the system is short of memory, or somebody killed it)\n{self._said()}"
            )
            raise MeasurementError(msg) from error
        return message

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


class _Parent:
    """In a measuring process, the way back to who started it."""

    connection: ClassVar[Connection | None] = None


def report_progress(what: Any) -> None:
    """Say how far a call is, from within a measuring process; elsewhere nobody hears it."""
    if _Parent.connection is not None:
        _Parent.connection.send(("progress", what))


def _run(connection: Connection, log: Path, home: Home, arguments: tuple[Any, ...]) -> None:
    os.setpgrp()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Before anything there imports vLLM: figures, not logs, are what this is for.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    _Parent.connection = connection
    with suppress(BrokenPipeError):  # nobody listens any more
        try:
            asyncio.run(_serve(connection, home, arguments))
        except Exception:  # noqa: BLE001 - raised to whoever asked
            connection.send(("failure", traceback.format_exc()))


async def _serve(connection: Connection, home: Home, arguments: tuple[Any, ...]) -> None:
    async with home(*arguments) as answer:
        connection.send(("answer", None))
        following = _next_call(connection)
        while (call := await following) is not None:
            following = _next_call(connection)
            doing = asyncio.ensure_future(answer(call))
            await asyncio.wait([doing, following], return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                # One thing is asked at a time, so whoever asked is gone.
                doing.cancel()
                return
            try:
                reply: tuple[_Kind, Any] = ("answer", doing.result())
            except Exception:  # noqa: BLE001 - raised to whoever asked
                reply = ("failure", traceback.format_exc())
            connection.send(reply)


def _next_call(connection: Connection) -> asyncio.Future[Any]:
    """Receive the next call in a thread; ``None`` ends everything."""

    def received() -> Any:
        with suppress(EOFError, OSError):
            return connection.recv()
        return None

    return asyncio.get_running_loop().run_in_executor(None, received)
