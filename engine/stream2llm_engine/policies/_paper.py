"""The three policies of Stream2LLM (MLSys'26), as its artifact codes them.

Read from ``vllm/v1/core/scheduler.py`` of the artifact; where its paper, README and code disagree,
the code wins and the class says so. The artifact also names an eviction order for each policy (LRU,
LCE …) that its code does not have: the victim is always the lowest ranked request.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from stream2llm_engine.policies._base import Policy

if TYPE_CHECKING:
    from stream2llm_engine.policies._base import RequestView

__all__ = ["FirstComeFirstServed", "LastChunkArrival", "MostComputedPrefix"]


class FirstComeFirstServed(Policy):
    """Finalized prompts by the arrival of their first chunk, then open ones by the same.

    Open sessions with nothing to compute come last, so they are the first victims.
    """

    name = "fcfs"

    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return ``(open?, arrival)``."""
        if request.finalized:
            return (0.0, request.arrival_s)
        return (1.0, inf if request.idle else request.arrival_s)


class LastChunkArrival(Policy):
    """Finalized prompts by the arrival of their last chunk, then open ones by the same.

    The code sorts ascending, the one that has been ready for longest first; its docstring says
    "most recent first", and the README expands the name to "least-context-aware scheduling".
    """

    name = "lcas"

    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return ``(open?, last chunk's arrival)``."""
        if request.finalized:
            return (0.0, request.last_event_s)
        return (1.0, inf if request.idle else request.last_event_s)


class MostComputedPrefix(Policy):
    """Whoever has most tokens computed goes first, finalized or not.

    The code counts tokens and does not put finalized prompts before open ones; a comment in it
    speaks of "most chunks processed", the README of "most-computed-prefix scheduling".
    """

    name = "mcps"

    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return ``(idle?, -computed tokens)``."""
        if request.idle:
            return (inf, inf)
        return (0.0, -float(request.computed_tokens))
