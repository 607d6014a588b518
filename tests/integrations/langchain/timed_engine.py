"""The fake engine with a speed: prefill takes time, so that it matters when it begins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.integrations.langchain.fakes import FakeEngine, FakeSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from stream2llm_engine import StreamOutput

TOKENS_PER_SECOND = 1000


class TimedSession(FakeSession):
    """Computes one token after the other; a token is a character.

    Attributes:
        first_token_s: When the answer began, by the event loop's clock.
    """

    first_token_s = 0.0
    _computed_s = 0.0

    async def append(self, ids: Sequence[int]) -> None:
        await super().append(ids)
        self._compute(len(ids))

    async def finalize(
        self, ids: Sequence[int] = (), sampling_params: Any = None
    ) -> AsyncIterator[StreamOutput]:
        self._compute(len(ids))
        await asyncio.sleep(self._computed_s - asyncio.get_running_loop().time())
        self.first_token_s = asyncio.get_running_loop().time()
        async for output in super().finalize(ids, sampling_params):
            yield output

    def _compute(self, tokens: int) -> None:
        begin = max(self._computed_s, asyncio.get_running_loop().time())
        self._computed_s = begin + tokens / TOKENS_PER_SECOND


class TimedEngine(FakeEngine):
    """Makes timed sessions."""

    async def open_session(self, *_: Any, tenant: str = "default", **__: Any) -> Any:
        session = TimedSession(self, tenant)
        self.sessions.append(session)
        return session

    @property
    def first_token_s(self) -> float:
        """When the only answer began."""
        (session,) = self.sessions
        return session.first_token_s  # type: ignore[attr-defined,no-any-return]
