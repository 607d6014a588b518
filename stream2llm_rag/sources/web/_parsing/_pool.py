"""The parser processes of this program."""

import os
import threading

from stream2llm_rag.sources.web._parsing._messages import PageJob, Parsed, RobotsJob, Rules
from stream2llm_rag.sources.web._parsing._process import ParserProcess

__all__ = ["ParserPool"]


class ParserPool:
    """A few parser processes, started when they are needed. Safe to use from several threads.

    Args:
        size: Most processes at once.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._forget()
        # Two programs on one connection would get each other's pages.
        os.register_at_fork(after_in_child=self._forget)

    def warm_up(self) -> None:
        """Has a process started unless one is idle or all are busy."""
        if self._slots.acquire(blocking=False):
            try:
                self._give_back(self._take())
            finally:
                self._slots.release()

    def answer(self, job: PageJob | RobotsJob, body: bytes, timeout_s: float) -> Parsed | Rules:
        """Does a job; blocks.

        Raises:
            PageSkippedError: The body cannot be read, or not within ``timeout_s``.
        """
        with self._slots:
            process = self._take()
            try:
                return process.answer(job, body, timeout_s)
            finally:
                self._give_back(process)

    def close(self) -> None:
        """Ends the idle processes."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> ParserProcess:
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            process.close()
        return ParserProcess()

    def _give_back(self, process: ParserProcess) -> None:
        if process.alive:
            self._idle.append(process)

    def _forget(self) -> None:
        self._slots = threading.Semaphore(self._size)
        self._idle: list[ParserProcess] = []
