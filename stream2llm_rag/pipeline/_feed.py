"""How context gets into the engine: into an open session at once, or in one request at the end."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Protocol, Self, TypeAlias

from stream2llm_engine.outputs import SessionStats, StreamOutput
from stream2llm_rag.events import Append, Update
from stream2llm_rag.pipeline._engine import Engine, Session
from stream2llm_rag.pipeline._scheduling import Scheduling
from stream2llm_rag.prompt import PromptAssembler, ReplaceTokens, send_delta

__all__ = ["Feed", "OneShotFeed", "SessionFeed"]

_OpenSession: TypeAlias = Callable[..., Awaitable[Session]]


class Feed(Protocol):
    """The way of one request's context into the engine."""

    async def send(self, event: Append | Update) -> None:
        """Takes an event in."""
        ...

    async def computed(self) -> None:
        """Waits until the engine has computed all that was sent."""
        ...

    def finish(self, sampling_params: Any) -> AsyncIterator[StreamOutput]:
        """Says that the context is final and starts the answer."""
        ...

    async def close(self) -> None:
        """Frees what the engine holds for the request, whatever its state."""
        ...

    def stats(self) -> SessionStats:
        """Token counts of the request."""
        ...


class SessionFeed:
    """Streams into a session, so that the context is computed while more of it arrives."""

    def __init__(
        self, open_session: _OpenSession, session: Session, assembler: PromptAssembler
    ) -> None:
        self._open_session = open_session
        self._session = session
        self._assembler = assembler

    @classmethod
    async def open(cls, engine: Engine, assembler: PromptAssembler, scheduling: Scheduling) -> Self:
        """Opens a session that holds the prompt's prefix."""
        open_session = partial(
            engine.open_session,
            tenant=scheduling.tenant,
            deadline_s=scheduling.deadline_s,
            priority=scheduling.priority,
        )
        return cls(open_session, await open_session(assembler.prefix_ids), assembler)

    async def send(self, event: Append | Update) -> None:
        """Sends what the event changes."""
        delta = self._assembler.apply(event)
        if delta == ReplaceTokens([]):
            # No prefix and every document retracted: a session cannot be emptied.
            await self._session.abort()
            self._session = await self._open_session()
        else:
            await send_delta(self._session, delta)

    async def computed(self) -> None:
        """Waits for the session, all but the token that it holds back."""
        await self._session.wait_prefilled()

    def finish(self, sampling_params: Any) -> AsyncIterator[StreamOutput]:
        """Sends the suffix."""
        return self._session.finalize(self._assembler.suffix_ids, sampling_params)

    async def close(self) -> None:
        """Aborts the session, which does nothing once it is finished."""
        await self._session.abort()

    def stats(self) -> SessionStats:
        """The session's own counters."""
        return self._session.stats


class OneShotFeed:
    """Waits for the whole context and sends one ordinary request: the baseline."""

    def __init__(self, engine: Engine, assembler: PromptAssembler, tenant: str) -> None:
        self._engine = engine
        self._assembler = assembler
        self._tenant = tenant
        self._outputs: AsyncIterator[StreamOutput] | None = None

    async def send(self, event: Append | Update) -> None:
        """Only takes the event into the prompt."""
        self._assembler.apply(event)

    async def computed(self) -> None:
        """Returns at once: nothing is computed before the end."""

    def finish(self, sampling_params: Any) -> AsyncIterator[StreamOutput]:
        """Sends the whole prompt."""
        prompt = {"prompt_token_ids": self._assembler.final_ids()}
        self._outputs = self._engine.generate(prompt, sampling_params, tenant=self._tenant)
        return self._outputs

    async def close(self) -> None:
        """Aborts the request if it is still running."""
        if isinstance(self._outputs, AsyncGenerator):
            await self._outputs.aclose()

    def stats(self) -> SessionStats:
        """The prompt's length; nothing is computed before the context is final."""
        return SessionStats(prompt_tokens=len(self._assembler.final_ids()))
