"""When an open prompt will be complete, and how much of it the next update keeps.

Learned online, tenant by tenant, from the events themselves. Everything is O(1) or O(longest
session in events) per event; nothing is done per step.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["ArrivalModel", "EventHistory"]

# Until a tenant's first session has ended: how many more events to expect.
_PRIOR_MORE_EVENTS = 4.0
_PRIOR_GAP_S = 0.5
# How many of a session's own gaps weigh as much as what is known of its tenant.
_PRIOR_WEIGHT = 2.0
# Sessions and updates a tenant's averages remember, about.
_MEMORY = 200.0
_MOST_EVENTS = 256


@dataclass(slots=True)
class EventHistory:
    """What one session's events have shown so far.

    Attributes:
        tenant: Whose session it is.
        events: Events so far, the first included.
        last_event_s: When the last one came, in seconds.
        gaps_s: Sum of the gaps between events, in seconds.
        kept: Smoothed share of the prompt that an update kept, or ``None`` before the first one.
    """

    tenant: str
    last_event_s: float
    events: int = 1
    gaps_s: float = 0.0
    kept: float | None = None


@dataclass(slots=True)
class _Tenant:
    gap_s: float = _PRIOR_GAP_S
    gaps: float = 0.0
    ended: Counter[int] = field(default_factory=Counter)
    kept: float = 1.0
    updates: float = 0.0


class ArrivalModel:
    """Predicts the completion of open prompts."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant] = {}

    def observe_event(self, history: EventHistory, now_s: float) -> None:
        """Count an event of an open session."""
        gap = max(0.0, now_s - history.last_event_s)
        history.events += 1
        history.gaps_s += gap
        history.last_event_s = now_s
        tenant = self._tenant(history.tenant)
        tenant.gaps = min(tenant.gaps + 1.0, _MEMORY)
        tenant.gap_s += (gap - tenant.gap_s) / tenant.gaps

    def observe_update(self, history: EventHistory, kept: float) -> None:
        """Count an update that kept the leading share ``kept`` of the prompt, 0 to 1."""
        tenant = self._tenant(history.tenant)
        tenant.updates = min(tenant.updates + 1.0, _MEMORY)
        tenant.kept += (kept - tenant.kept) / tenant.updates
        before = tenant.kept if history.kept is None else history.kept
        history.kept = 0.5 * (before + kept)

    def observe_final(self, history: EventHistory) -> None:
        """Count a session whose prompt is complete."""
        ended = self._tenant(history.tenant).ended
        ended[min(history.events, _MOST_EVENTS)] += 1
        if ended.total() > 2 * _MEMORY:
            for events in list(ended):
                ended[events] //= 2
            ended += Counter()

    def expected_final_s(self, history: EventHistory) -> float:
        """Return when the prompt is expected to be complete, in seconds."""
        tenant = self._tenant(history.tenant)
        gaps = history.events - 1
        gap = (history.gaps_s + _PRIOR_WEIGHT * tenant.gap_s) / (gaps + _PRIOR_WEIGHT)
        return history.last_event_s + self._more_events(tenant, history.events) * gap

    def settled_share(self, history: EventHistory) -> float:
        """Return the leading share of the prompt that the next event is expected to keep, 0 to 1.

        1 for tenants that only append.
        """
        if history.kept is not None:
            return history.kept
        return self._tenant(history.tenant).kept

    def _more_events(self, tenant: _Tenant, events: int) -> float:
        """Return the mean residual life: events still to come, given that there were ``events``."""
        more = longer = 0
        for total, sessions in tenant.ended.items():
            if total > events:
                longer += sessions
                more += sessions * (total - events)
        if longer:
            return more / longer
        return 1.0 if tenant.ended else _PRIOR_MORE_EVENTS

    def _tenant(self, name: str) -> _Tenant:
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant()
        return tenant
