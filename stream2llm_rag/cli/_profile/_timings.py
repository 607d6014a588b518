"""What was measured, as figures."""

from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["CopyTiming", "Statistic", "StepTiming"]

Statistic: TypeAlias = Literal["median", "lowest"]


class StepTiming(NamedTuple):
    """Engine steps with the same work, timed several times.

    Attributes:
        tokens: New tokens.
        context: Tokens computed before.
        steps: Engine steps it takes.
        whole_request: Whether the time runs from sending a request to its first token. Otherwise it
            is that of a step in the middle of an answer.
        seconds: Every measurement.
        statistic: What stands for the measurements.
    """

    tokens: int
    context: int
    steps: int
    whole_request: bool
    seconds: tuple[float, ...]
    statistic: Statistic = "median"

    @property
    def typical_s(self) -> float:
        """What stands for the measurements."""
        return _typical(self.seconds, self.statistic)

    def sample(self) -> dict[str, float]:
        """The form in a profile."""
        return {
            "tokens": self.tokens,
            "context": self.context,
            "steps": self.steps,
            "requests": int(self.whole_request),
            "seconds": self.typical_s,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
        }


class CopyTiming(NamedTuple):
    """Copies of as many KV blocks, timed several times.

    Attributes:
        blocks: Blocks of a copy.
        out_s: Every copy to host memory.
        in_s: Every copy back.
        statistic: What stands for the measurements.
    """

    blocks: int
    out_s: tuple[float, ...]
    in_s: tuple[float, ...]
    statistic: Statistic = "median"

    @property
    def typical_out_s(self) -> float:
        """What stands for the copies to host memory."""
        return _typical(self.out_s, self.statistic)

    @property
    def typical_in_s(self) -> float:
        """What stands for the copies back."""
        return _typical(self.in_s, self.statistic)

    def sample(self) -> dict[str, float]:
        """The form in a profile."""
        return {"blocks": self.blocks, "out_s": self.typical_out_s, "in_s": self.typical_in_s}


def _typical(seconds: Sequence[float], statistic: Statistic) -> float:
    return median(seconds) if statistic == "median" else min(seconds)
