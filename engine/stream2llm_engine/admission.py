"""Who may open a session: limits, and a queue in front of them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stream2llm_engine.channel import wake
from stream2llm_engine.errors import DeadlineExceededError, SessionLimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream2llm_engine.config import EngineConfig
    from stream2llm_engine.errors import EngineDeadError

__all__ = ["Admission", "Seat"]


class Seat:
    """The place of one open session, or of a caller that waits for one.

    Attributes:
        tenant: Whose place it is.
        tokens: Prompt tokens it is counted with.
    """

    def __init__(self, admission: Admission, tenant: str, tokens: int) -> None:
        self.tenant = tenant
        self.tokens = tokens
        self._admission = admission
        self._counted = False
        self._admitted = False
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def resize(self, tokens: int) -> None:
        """Count the session with another number of prompt tokens.

        Raises:
            SessionLimitError: The tenant would have too many; nothing was changed.
        """
        self._admission._resize(self, tokens)

    def leave(self) -> None:
        """Give it to the next in the queue. Idempotent; never blocks, fit for ``__del__``."""
        self._admission._left.append(self)
        self._admission._take_back()


class Admission:
    """Counts open sessions and their tokens, and lets callers wait for a place.

    A caller counts for its tenant as soon as it waits, so that nobody who waited is refused in the
    end. Its methods may be called from any thread and event loop.

    A session that is collected leaves from ``__del__``, which may run in a thread that holds the
    lock already. So whoever leaves is only put down, and taken back by whoever gets the lock next,
    or has it now.

    Args:
        config: Has the limits.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._left: deque[Seat] = deque()
        self._queue: deque[Seat] = deque()
        self._taken = 0
        self._sessions: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._closed: EngineDeadError | None = None

    @property
    def open_sessions(self) -> int:
        """Places that are taken."""
        with self._locked():
            return self._taken

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        with self._locked():
            return len(self._queue)

    async def enter(self, tenant: str, tokens: int, deadline_s: float | None = None) -> Seat:
        """Return a place for a session, waiting for one where the configuration allows.

        Args:
            tenant: Whose session it is.
            tokens: Prompt tokens it is opened with.
            deadline_s: Seconds within which there must be a place.

        Raises:
            SessionLimitError: There is no place, or no more tokens for this tenant.
            DeadlineExceededError: The deadline passed in the queue.
            EngineDeadError: The engine was closed or died.
        """
        seat = Seat(self, tenant, tokens)
        try:
            future = self._enter(seat)
            if future is not None:
                await self._wait(seat, future, deadline_s)
        except BaseException:
            seat.leave()
            raise
        return seat

    def close(self, error: EngineDeadError) -> None:
        """Let nobody in any more; whoever waits gets ``error``."""
        with self._locked():
            self._closed = self._closed or error
            waiting = list(self._queue)
            self._queue.clear()
            for seat in waiting:
                self._uncount(seat)
        for seat in waiting:
            if seat._waiter is not None:
                wake(*seat._waiter)

    # -- entering --------------------------------------------------------------------------------

    def _enter(self, seat: Seat) -> asyncio.Future[None] | None:
        """Take a place, or one in the queue: then return what tells when to go on."""
        with self._locked():
            if self._closed is not None:
                raise type(self._closed)(str(self._closed))
            self._check_tenant(seat.tenant, sessions=1, tokens=seat.tokens)
            limit, room = self._config.max_open_sessions, self._config.admission_queue
            full = self._taken >= limit
            if full and len(self._queue) >= room:
                raise SessionLimitError(_no_place(limit, room))
            self._sessions[seat.tenant] += 1
            self._tokens[seat.tenant] += seat.tokens
            seat._counted = True
            if not full:
                self._taken += 1
                seat._admitted = True
                return None
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            seat._waiter = (loop, future)
            self._queue.append(seat)
        return future

    async def _wait(
        self, seat: Seat, future: asyncio.Future[None], deadline_s: float | None
    ) -> None:
        timeout_s = self._config.admission_timeout_s
        limits = [limit for limit in (timeout_s, deadline_s) if limit is not None]
        try:
            async with asyncio.timeout(min(limits, default=None)):
                await future
        except TimeoutError as error:
            if seat._admitted:
                return
            if deadline_s is not None and deadline_s == min(limits):
                msg = (
                    f"no session was open to tenant {seat.tenant!r} within its deadline of "
                    f"{deadline_s} s: give it more time, or raise max_open_sessions"
                )
                raise DeadlineExceededError(msg) from error
            msg = (
                f"{self._config.max_open_sessions} sessions are open (max_open_sessions) and none "
                f"ended within {timeout_s} s (admission_timeout_s): raise either, or try again"
            )
            raise SessionLimitError(msg) from error
        if not seat._admitted and self._closed is not None:
            raise type(self._closed)(str(self._closed))

    def _resize(self, seat: Seat, tokens: int) -> None:
        with self._locked():
            if seat._counted:
                self._check_tenant(seat.tenant, sessions=0, tokens=tokens - seat.tokens)
                self._tokens[seat.tenant] += tokens - seat.tokens
                seat.tokens = tokens

    def _check_tenant(self, tenant: str, *, sessions: int, tokens: int) -> None:
        most = _cap(self._config.tenant_max_sessions, tenant)
        if most is not None and sessions and self._sessions[tenant] + sessions > most:
            msg = (
                f"tenant {tenant!r} has {self._sessions[tenant]} of {most} open sessions "
                "(tenant_max_sessions): finalize or abort one first, or raise the limit"
            )
            raise SessionLimitError(msg)
        most = _cap(self._config.tenant_max_tokens, tenant)
        if most is not None and tokens > 0 and self._tokens[tenant] + tokens > most:
            total = self._tokens[tenant] + tokens
            msg = (
                f"the open sessions of tenant {tenant!r} would hold {total} prompt tokens, {most} "
                "are allowed (tenant_max_tokens): finalize or abort one first, or raise the limit"
            )
            raise SessionLimitError(msg)

    # -- leaving ---------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock, with the places of all who left until now taken back."""
        try:
            with self._lock:
                self._settle()
                yield
        finally:
            self._take_back()

    def _take_back(self) -> None:
        """Settle, unless somebody holds the lock: they do it when they are done."""
        while self._left and self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def _settle(self) -> None:
        """Give the places of those who left to those who wait."""
        while self._left:
            seat = self._left.popleft()
            if not seat._counted:
                continue
            self._uncount(seat)
            if seat._admitted:
                self._taken -= 1
                self._admit_next()
            else:
                self._queue.remove(seat)

    def _uncount(self, seat: Seat) -> None:
        seat._counted = False
        for counts, amount in ((self._sessions, 1), (self._tokens, seat.tokens)):
            counts[seat.tenant] -= amount
            if not counts[seat.tenant]:
                del counts[seat.tenant]

    def _admit_next(self) -> None:
        """Hand a free place on; a caller whose event loop is gone will never take it."""
        while self._queue and self._taken < self._config.max_open_sessions:
            seat = self._queue.popleft()
            seat._admitted = True
            if seat._waiter is not None and wake(*seat._waiter):
                self._taken += 1
                return
            self._uncount(seat)


def _cap(limit: int | dict[str, int] | None, tenant: str) -> int | None:
    return limit.get(tenant) if isinstance(limit, dict) else limit


def _no_place(limit: int, room: int) -> str:
    queue = f" and {room} callers wait for one to end (admission_queue)" if room else ""
    return (
        f"{limit} sessions are open (max_open_sessions){queue}: finalize or abort some first, "
        f"or raise {'either' if room else 'max_open_sessions or admission_queue'}"
    )
