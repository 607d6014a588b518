"""What a context event does to the tokens of an open prompt."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, assert_never

__all__ = [
    "AppendTokens",
    "PromptDelta",
    "PromptSession",
    "ReplaceTokens",
    "Unchanged",
    "send_delta",
]


@dataclass(frozen=True, slots=True)
class AppendTokens:
    """The prompt grows by ``ids``: send them with ``session.append``."""

    ids: list[int]


@dataclass(frozen=True, slots=True)
class ReplaceTokens:
    """The prompt so far, without the suffix, becomes ``ids``: send them with ``session.update``."""

    ids: list[int]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The prompt stays as it is."""


PromptDelta: TypeAlias = AppendTokens | ReplaceTokens | Unchanged


class PromptSession(Protocol):
    """What takes the tokens of an open prompt: an engine's session."""

    async def append(self, token_ids: list[int]) -> None:
        """Extends the prompt."""
        ...

    async def update(self, token_ids: list[int]) -> None:
        """Replaces the prompt."""
        ...


async def send_delta(session: PromptSession, delta: PromptDelta) -> None:
    """Does to the session's prompt what the event did to the assembled one."""
    match delta:
        case AppendTokens(ids):
            await session.append(ids)
        case ReplaceTokens(ids):
            await session.update(ids)
        case Unchanged():
            pass
        case _:
            assert_never(delta)
