"""What a profile run measures."""

from typing import Annotated, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from stream2llm_rag.cli._profile._timings import Statistic

__all__ = ["QUICK", "Point", "ProfileSettings"]

_Some: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
_SomeOrNone: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Point(NamedTuple):
    """New tokens, and the tokens computed before them."""

    tokens: int
    context: int


class ProfileSettings(BaseModel):
    """Grid and repeats of a profile run.

    Attributes:
        tokens: Numbers of new tokens.
        contexts: Numbers of tokens computed before them.
        token_budget: Most tokens of an engine step.
        eager: Whether the model runs without compilation and CUDA graphs, as it does on CPUs.
        repeats: Prefills of each point.
        statistic: What stands for the repeats.
        answer_tokens: Length of the answers whose steps are timed.
        blocks: Numbers of KV blocks in a copy.
        copies: Copies of each number, in each direction.
        seed: Seed of the random tokens and of the order of the measurements.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: _Some = (32, 128, 512, 2048, 4096)
    contexts: _SomeOrNone = (0, 512, 2048)
    token_budget: int = Field(default=2048, ge=64)
    eager: bool = False
    repeats: int = Field(default=5, ge=1)
    statistic: Statistic = "median"
    answer_tokens: int = Field(default=17, ge=2)
    blocks: _Some = (1, 4, 16, 64, 256)
    copies: int = Field(default=21, ge=1)
    seed: int = 0

    def points(self, longest: int) -> list[Point]:
        """The points of the grid whose prompts have at most ``longest`` tokens."""
        return [
            Point(tokens, context)
            for context in self.contexts
            for tokens in self.tokens
            if context + tokens <= longest
        ]

    def steps(self, tokens: int) -> int:
        """The engine steps that a prefill takes."""
        return -(-tokens // self.token_budget)


QUICK = {
    "tokens": (32, 256, 1024),
    "contexts": (0, 512),
    "repeats": 2,
    "blocks": (1, 16),
    "copies": 3,
}
"""Settings of a run of seconds, for tests and to try the command out."""
