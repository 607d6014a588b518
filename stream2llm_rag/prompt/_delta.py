"""What a context event does to the tokens of an open prompt."""

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["AppendTokens", "PromptDelta", "ReplaceTokens", "Unchanged"]


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
