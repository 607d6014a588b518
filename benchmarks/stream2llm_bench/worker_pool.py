"""The parent's side of the worker processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from stream2llm_bench.worker import MARK
from stream2llm_rag.errors import RagError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from stream2llm_bench.worker import Ask, EngineSpec

__all__ = ["Worker", "WorkerError", "WorkerPool"]

_START_S = 180.0
_STOP_S = 15.0
_LAST_LINES = 12


class WorkerError(RagError):
    """A measuring process died, or said nothing for too long."""


class Worker:
    """One process with one engine.

    Args:
        spec: What it runs.
    """

    def __init__(self, spec: EngineSpec) -> None:
        # Closed with the worker.
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stream2llm_bench.worker", spec.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # vLLM has processes of its own; they end with the group.
            start_new_session=True,
            env={"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", **os.environ},
        )
        self._buffer = b""

    def wait_ready(self) -> None:
        """Wait until the engine runs.

        Raises:
            WorkerError: It did not start.
        """
        for reply in self._replies(_START_S):
            if "ready" in reply:
                return

    def ask(self, ask: Ask, *, silence_s: float, on_answer: Callable[[int], None]) -> Any:
        """Let the worker do something and return its result.

        Args:
            ask: What to do.
            silence_s: Seconds without any sign of life after which it counts as dead.
            on_answer: Called with the number of answers so far.

        Raises:
            WorkerError: The worker died, or hangs.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(ask.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._dead("ended") from error
        for reply in self._replies(silence_s):
            if "answered" in reply:
                on_answer(reply["answered"])
            elif "done" in reply:
                return reply["done"]
        raise self._dead("ended")

    def close(self) -> None:
        """End the process and everything it started."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    def _replies(self, silence_s: float) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + silence_s
        while True:
            readable, _, _ = select.select(
                [descriptor], [], [], max(0, deadline - time.monotonic())
            )
            if not readable:
                raise self._dead(f"said nothing for {silence_s:.0f} s")
            read = os.read(descriptor, 1 << 16)
            if not read:
                raise self._dead("ended")
            self._buffer += read
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                if text.startswith(MARK):
                    deadline = time.monotonic() + silence_s
                    yield json.loads(text.removeprefix(MARK))

    def _dead(self, what: str) -> WorkerError:
        self._log.seek(0)
        last = "".join(self._log.readlines()[-_LAST_LINES:])
        return WorkerError(f"a measuring process {what}; its last words:\n{last}")


class WorkerPool:
    """Running workers by what they run; those that are not needed any more are ended."""

    def __init__(self) -> None:
        self._workers: dict[EngineSpec, Worker] = {}

    def keep_only(self, specs: set[EngineSpec]) -> None:
        """End the workers that run anything else."""
        for spec in self._workers.keys() - specs:
            self._workers.pop(spec).close()

    def get(self, spec: EngineSpec) -> Worker:
        """Return the worker for ``spec``, started where there is none.

        Raises:
            WorkerError: It did not start.
        """
        worker = self._workers.get(spec)
        if worker is None:
            worker = Worker(spec)
            try:
                worker.wait_ready()
            except BaseException:
                worker.close()
                raise
            self._workers[spec] = worker
        return worker

    def drop(self, spec: EngineSpec) -> None:
        """End the worker for ``spec``, for instance because it hangs."""
        worker = self._workers.pop(spec, None)
        if worker is not None:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.keep_only(set())
