"""When the scheduler plans which request, told by a policy: public means only."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, ClassVar

from stream2llm_engine.policies import ShortestRemainingPrefill

if TYPE_CHECKING:
    from stream2llm_engine.policies import RequestView

__all__ = ["PlanningClock"]


class PlanningClock(ShortestRemainingPrefill):
    """The default policy, which also notes when it is asked.

    The scheduler asks at the start of the step after something changed about a request, an event
    for example.

    Attributes:
        latest: The latest calls, oldest first: seconds (``time.perf_counter``) and what was known.
    """

    name = "srpt-timed"
    latest: ClassVar[deque[tuple[float, RequestView]]] = deque(maxlen=64)

    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return the default policy's key."""
        PlanningClock.latest.append((time.perf_counter(), request))
        return super().key(request)
