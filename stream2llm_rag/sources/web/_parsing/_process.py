"""One parser process, seen from the program."""

import os
import subprocess
import sys
from multiprocessing import Pipe

from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._parsing._messages import (
    ANSWERS,
    PageJob,
    Parsed,
    Refusal,
    RobotsJob,
    Rules,
)

__all__ = ["ParserProcess"]

_CHILD = "stream2llm_rag.sources.web._parsing._child"
_START_TIMEOUT_S = 60.0


class ParserProcess:
    """Starts a parser process, which ends with :meth:`close` or with this program.

    It is a program of its own and not a ``multiprocessing`` child: those run the caller's main
    module again.
    """

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                # An interrupt from the terminal is for the program, which then ends this one.
                start_new_session=True,
            )
        self._ready = False

    @property
    def alive(self) -> bool:
        """Whether it can take a job."""
        return not self._connection.closed and self._process.poll() is None

    def answer(self, job: PageJob | RobotsJob, body: bytes, timeout_s: float) -> Parsed | Rules:
        """Does a job; blocks.

        Raises:
            PageSkippedError: The body cannot be read; if that took too long or the process died,
                it is closed.
        """
        try:
            if not self._ready:
                self._receive(_START_TIMEOUT_S)
                self._ready = True
            self._connection.send_bytes(job.model_dump_json().encode())
            self._connection.send_bytes(body)
            answer = ANSWERS.validate_json(self._receive(timeout_s))
        except TimeoutError as error:
            self.close()
            detail = f"not parsed within {timeout_s} s"
            raise PageSkippedError(SkipReason.UNREADABLE, detail) from error
        except (EOFError, OSError) as error:
            self.close()
            raise PageSkippedError(SkipReason.UNREADABLE, "its parser died") from error
        if isinstance(answer, Refusal):
            raise PageSkippedError(answer.reason, answer.detail)
        return answer

    def close(self) -> None:
        """Kills the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, timeout_s: float) -> bytes:
        if not self._connection.poll(timeout_s):
            raise TimeoutError
        return self._connection.recv_bytes()
