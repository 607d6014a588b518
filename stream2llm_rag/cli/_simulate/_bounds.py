"""The idle machine's times to first token, for all runs together."""

from collections.abc import Iterable
from typing import Protocol

from stream2llm_rag.cli._simulate._plan import Run

__all__ = ["Bounded", "bounds"]


class Bounded(Protocol):
    """A finished simulation with what it could not have beaten."""

    @property
    def run(self) -> Run:
        """What was simulated."""

    @property
    def bound_s(self) -> list[float]:
        """The idle machine's times to first token."""


def bounds(simulated: Iterable[Bounded]) -> dict[str | None, list[float]]:
    """Returns the idle machine's times by document order, all seeds together."""
    found: dict[str | None, dict[int | None, list[float]]] = {}
    for one in simulated:
        found.setdefault(one.run.order, {})[one.run.seed] = one.bound_s
    if len(found) > 1:
        # Blocking has no order of its own; its bound is there under the name of another.
        found.pop(None, None)
    return {
        order: [seconds for times in by_seed.values() for seconds in times]
        for order, by_seed in found.items()
    }
