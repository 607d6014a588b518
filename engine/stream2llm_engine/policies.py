"""Policies: the order in which requests get tokens and KV blocks.

A policy is a pure sort key over :class:`RequestView`; it imports no vLLM and keeps no state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["FirstComeFirstServed", "Policy", "RequestView", "resolve_policy"]


@dataclass(frozen=True, slots=True)
class RequestView:
    """What a policy may know about a request.

    Attributes:
        request_id: Unique, used as the last tie-break.
        arrival_s: When the request (its first chunk, for a session) arrived, in seconds.
        last_event_s: When its latest chunk arrived, in seconds.
        finalized: The prompt is complete; true for every ordinary request.
        decoding: It has produced output tokens already.
        remaining_tokens: Prompt tokens that are known and not computed.
        computed_tokens: Tokens whose KV is in place.
    """

    request_id: str
    arrival_s: float
    last_event_s: float
    finalized: bool
    decoding: bool
    remaining_tokens: int
    computed_tokens: int


class Policy(Protocol):
    """Ranks requests; the smallest key goes first."""

    name: str

    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return the rank of ``request``; ties are broken by arrival and id."""
        ...


class FirstComeFirstServed:
    """Running answers, then finalized prompts, then open ones; each group by arrival.

    The order is the one the artifact of Stream2LLM (MLSys'26) codes as ``fcfs``. Running answers go
    before everything else because each needs a single token a step.
    """

    name = "fcfs"

    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return ``(group, arrival)``."""
        group = 0.0 if request.decoding else 1.0 if request.finalized else 2.0
        return (group, request.arrival_s)


_BUILT_IN: dict[str, type[Policy]] = {FirstComeFirstServed.name: FirstComeFirstServed}


def resolve_policy(name: str) -> Policy:
    """Return a built-in policy by name.

    Raises:
        ValueError: There is no policy of that name.
    """
    try:
        return _BUILT_IN[name]()
    except KeyError:
        msg = f"unknown policy {name!r}; choose one of {sorted(_BUILT_IN)}"
        raise ValueError(msg) from None
