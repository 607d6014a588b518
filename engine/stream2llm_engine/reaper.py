"""Ends sessions whose time is over."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream2llm_engine.session import StreamSession

__all__ = ["Reaper"]


class Reaper:
    """One thread that wakes up when the next session may be due; it starts at the first session.

    A session's due time moves with every operation, so an entry that comes up is asked again
    instead of being kept in step.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._entries: list[tuple[float, int, weakref.ref[StreamSession]]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def watch(self, session: StreamSession) -> None:
        """End ``session`` when its deadline or idle time-out passes; no effect without either."""
        due = session.due_s
        if due is None:
            return
        with self._condition:
            if self._stopped:
                return
            heapq.heappush(self._entries, (due, next(self._order), weakref.ref(session)))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="stream2llm-reaper", daemon=True
                )
                self._thread.start()
            self._condition.notify()

    def stop(self) -> None:
        """End the thread; idempotent."""
        with self._condition:
            self._stopped = True
            self._entries.clear()
            self._condition.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._stopped:
                    return
                wait = self._entries[0][0] - time.monotonic() if self._entries else None
                if wait is None or wait > 0:
                    self._condition.wait(wait)
                    continue
                _, _, reference = heapq.heappop(self._entries)
            session = reference()
            if session is not None:
                session.expire(time.monotonic())
                self.watch(session)
            del session
