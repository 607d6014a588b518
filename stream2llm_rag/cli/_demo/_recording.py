"""An engine that notes when prefill happened, for the timeline."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from stream2llm_engine import (
    SessionClosedError,
    SessionStats,
    StreamEngine,
    StreamOutput,
    StreamSession,
)

__all__ = ["RecordingEngine", "Span"]


class Span(NamedTuple):
    """A stretch of time, in seconds of ``time.perf_counter``."""

    start: float
    end: float


class RecordingEngine:
    """Passes everything on to ``engine``; for one question.

    Attributes:
        prefills: From when tokens were sent to when they were computed. The last stretch, from the
            final context to the first token, is not in it.
    """

    def __init__(self, engine: StreamEngine) -> None:
        self._engine = engine
        self.prefills: list[Span] = []

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._engine.tokenizer

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt the engine takes."""
        return self._engine.max_prompt_tokens

    async def start(self) -> None:
        """Loads the model if it is not loaded."""
        await self._engine.start()

    async def open_session(
        self,
        token_ids: Sequence[int] = (),
        sampling_params: Any = None,
        tenant: str = "default",
        deadline_s: float | None = None,
        *,
        priority: int = 0,
    ) -> "_RecordingSession":
        """Opens a session whose prefill is noted."""
        session = await self._engine.open_session(
            token_ids, sampling_params, tenant, deadline_s, priority=priority
        )
        return _RecordingSession(session, self.prefills)

    def generate(
        self, prompt: Any, sampling_params: Any, *, tenant: str = "default"
    ) -> AsyncIterator[StreamOutput]:
        """Serves an ordinary request."""
        return self._engine.generate(prompt, sampling_params, tenant=tenant)


class _RecordingSession:
    def __init__(self, session: StreamSession, prefills: list[Span]) -> None:
        self._session = session
        self._prefills = prefills
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def stats(self) -> SessionStats:
        return self._session.stats

    async def append(self, token_ids: Sequence[int]) -> None:
        await self._session.append(token_ids)
        self._watch()

    async def update(self, token_ids: Sequence[int]) -> None:
        await self._session.update(token_ids)
        self._watch()

    async def wait_prefilled(self) -> None:
        await self._session.wait_prefilled()

    def finalize(
        self, token_ids: Sequence[int] = (), sampling_params: Any = None
    ) -> AsyncIterator[StreamOutput]:
        return self._session.finalize(token_ids, sampling_params)

    async def abort(self) -> None:
        await self._session.abort()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    def _watch(self) -> None:
        self._watchers.append(asyncio.create_task(self._note(time.perf_counter())))

    async def _note(self, start: float) -> None:
        # Closed: finalized while these tokens were still being computed.
        with contextlib.suppress(SessionClosedError):
            await self._session.wait_prefilled()
        self._prefills.append(Span(start, time.perf_counter()))
