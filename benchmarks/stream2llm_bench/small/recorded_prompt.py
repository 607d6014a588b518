"""What an integration sends to its session, recorded once and sent again without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from stream2llm_engine import StreamEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from stream2llm_engine import StreamOutput, StreamSession

__all__ = ["RecordedPrompt", "RecordingEngine"]


@dataclass(kw_only=True)
class RecordedPrompt:
    """The operations of one session.

    Attributes:
        opened_with: Tokens it was opened with.
        appended: Tokens of every append.
        updates: How many operations replaced the prompt.
        finalized_with: The last tokens.
        sampling_params: How it was decoded.
    """

    opened_with: list[int] = field(default_factory=list)
    appended: list[list[int]] = field(default_factory=list)
    updates: int = 0
    finalized_with: list[int] = field(default_factory=list)
    sampling_params: Any = None

    async def replay(self, engine: StreamEngine) -> None:
        """Send the same operations back to back and wait for the answer."""
        session = await engine.open_session(self.opened_with)
        for token_ids in self.appended:
            await session.append(token_ids)
        async for _ in session.finalize(self.finalized_with, self.sampling_params):
            pass


class RecordingEngine(StreamEngine):
    """Records the session that is opened next, if it is told to.

    Attributes:
        recording: What is recorded into; ``None``: nothing is.
    """

    recording: RecordedPrompt | None = None

    async def open_session(
        self, token_ids: Sequence[int] = (), *args: Any, **kwargs: Any
    ) -> StreamSession:
        """Open a session."""
        session = await super().open_session(token_ids, *args, **kwargs)
        recording, self.recording = self.recording, None
        if recording is None:
            return session
        recording.opened_with = list(token_ids)
        recorded: Any = _RecordedSession(session, recording)
        return recorded  # type: ignore[no-any-return]


class _RecordedSession:
    """A session that notes its operations; everything else is the session's own."""

    def __init__(self, session: StreamSession, recording: RecordedPrompt) -> None:
        self._session = session
        self._recording = recording

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def append(self, token_ids: Sequence[int]) -> None:
        self._recording.appended.append(list(token_ids))
        await self._session.append(token_ids)

    async def update(self, token_ids: Sequence[int]) -> None:
        self._recording.updates += 1
        await self._session.update(token_ids)

    def finalize(
        self, token_ids: Sequence[int] = (), sampling_params: Any = None
    ) -> AsyncIterator[StreamOutput]:
        self._recording.finalized_with = list(token_ids)
        self._recording.sampling_params = sampling_params
        return self._session.finalize(token_ids, sampling_params)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.abort()
