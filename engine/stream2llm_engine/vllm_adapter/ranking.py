"""The rank of every request, kept up to date from what changed.

A policy's key is computed again only for requests that something happened to, so ranking a step is
one sort of cached keys.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from stream2llm_engine.arrival_model import ArrivalModel
from stream2llm_engine.cost_model import CostModel
from stream2llm_engine.policies import Policy, RequestView, resolve_policy
from stream2llm_engine.vllm_adapter.reporting import ReportingMixin

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm.v1.request import Request

    from stream2llm_engine.vllm_adapter.core_session import CoreSession
    from stream2llm_engine.vllm_adapter.kv_swap import KvSwap

__all__ = ["ALL_SETTLED", "DECODING", "RankingMixin"]

DECODING = 0
_PREFILLING = 1
ALL_SETTLED = 1 << 60

Key = tuple[Any, ...]


class _RunningTotal:
    """A sum of numbers by name, of which few change at a time."""

    def __init__(self) -> None:
        self.total = 0
        self._parts: dict[str, int] = {}

    def set(self, name: str, part: int) -> None:
        """Replace a part; one that was never set is 0."""
        self.total += part - self._parts.pop(name, 0)
        if part:
            self._parts[name] = part


class RankingMixin(ReportingMixin):
    """Knows the policy, the prices and every request's key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._policy: Policy = resolve_policy("fcfs")
        self._cost = CostModel()
        self._arrivals = ArrivalModel()
        self._sessions: dict[str, CoreSession] = {}
        self._tenants: dict[str, str] = {}
        self._prioritized = False
        self._keys: dict[str, Key] = {}
        self._changed: set[str] = set()
        # What open sessions have to compute; as up to date as the keys.
        self._open_tokens = _RunningTotal()
        self._swap: KvSwap | None = None
        # Seconds on the clock that stamps operations; a simulation puts its own in.
        self.clock: Callable[[], float] = time.time

    def _remaining(self, request: Request, session: CoreSession | None) -> int:
        """Tokens that are known, not computed and not held back."""
        held_back = self._hold if session is not None and not session.finalized else 0
        known = request.num_tokens_with_spec + request.num_output_placeholders
        return int(known - held_back - self._in_place(request))

    def _in_place(self, request: Request) -> int:
        """Tokens whose KV the device or host memory holds."""
        away = self._swap.tokens_away(request) if self._swap is not None else 0
        return int(request.num_computed_tokens) + away

    def _touch(self, request: Request) -> None:
        """Note that something about the request changed."""
        self._changed.add(request.request_id)

    def _refresh_keys(self) -> None:
        """Compute the keys of what changed since the last call."""
        for request_id in self._changed:
            request = self.requests.get(request_id)
            if request is not None:
                self._keys[request_id] = self._key(request)
        self._changed.clear()

    def _forget_key(self, request_id: str) -> None:
        self._changed.discard(request_id)
        self._keys.pop(request_id, None)
        self._open_tokens.set(request_id, 0)

    def _key(self, request: Request) -> Key:
        arrival = request.arrival_time
        request_id = request.request_id
        priority = request.priority
        self._prioritized |= priority != 0
        if request.num_output_tokens or request.num_output_placeholders:
            self._open_tokens.set(request_id, 0)
            return (DECODING, priority, arrival, request_id)
        session = self._sessions.get(request_id)
        view = self._view(request, session)
        self._open_tokens.set(request_id, 0 if view.finalized else max(0, view.remaining_tokens))
        return (_PREFILLING, priority, *self._policy.key(view), arrival, request_id)

    def _view(self, request: Request, session: CoreSession | None) -> RequestView:
        remaining = self._remaining(request, session)
        # Where KV is must not change a rank, or two prompts could push each other out for ever.
        computed = self._in_place(request)
        last_event_s = session.history.last_event_s if session else request.arrival_time
        final = session is None or session.finalized
        return RequestView(
            request_id=request.request_id,
            tenant=self._tenants[request.request_id],
            arrival_s=request.arrival_time,
            last_event_s=last_event_s,
            finalized=final,
            idle=session is not None and not final and (remaining <= 0 or session.refill),
            remaining_tokens=remaining,
            computed_tokens=computed,
            remaining_s=self._cost.prefill_s(remaining, computed),
            expected_final_s=session.expected_final_s if session and not final else last_event_s,
        )

    def _learn_event(self, session: CoreSession, now_s: float, *, final: bool) -> None:
        """Learn from an operation on a session that is already open."""
        self._arrivals.observe_event(session.history, now_s)
        if final:
            self._arrivals.observe_final(session.history)

    def _predict(self, session: CoreSession) -> None:
        """Predict from what is known after an operation was applied."""
        session.expected_final_s = self._arrivals.expected_final_s(session.history)
        share = self._arrivals.settled_share(session.history)
        tokens = int(share * session.request.num_tokens)
        session.settled_tokens = tokens if share < 1.0 else ALL_SETTLED
