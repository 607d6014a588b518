"""Weighted fair sharing between tenants by virtual token counters, free of vLLM.

After the Virtual Token Counter of Sheng et al., "Fairness in Serving Large Language Models"
(OSDI'24): a tenant's counter grows by the service it gets, and whoever has the smallest goes next.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["DECODE_WEIGHT", "PREFILL_WEIGHT", "FairShare"]

PREFILL_WEIGHT = 1.0
"""Service in a prompt token."""
DECODE_WEIGHT = 2.0
"""Service in a token of an answer, which takes a pass of its own (the paper's price)."""
# One long prompt is no flood: the context length of today's models.
_BURST_TOKENS = 131_072


class FairShare:
    """How much service each tenant has had, and who is to go next.

    With tenants that always have something to compute, the counters of any two stay within one
    chunk of each other. Counters are held against the *fair time*: what a tenant that is here would
    have had if all that are here had always shared evenly.

    Args:
        weights: Share of each tenant relative to the others; 1 for those not listed.
        chunk_tokens: Most prompt tokens that are computed at once.
        burst_tokens: Service that a tenant may be ahead of the fair time, by weight, before it is
            :meth:`ahead`.
        slack_tokens: Tenants whose counters are no further than this above the smallest are even,
            and the policy's order decides between them. With none, turns would replace the order
            of the policy wherever many tenants have one request each.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        *,
        chunk_tokens: int = 1,
        burst_tokens: int = _BURST_TOKENS,
        slack_tokens: int = 0,
    ) -> None:
        self._weights = dict(weights or {})
        self._burst = float(burst_tokens)
        self._slack = float(slack_tokens)
        # Tenants that take turns are never further behind than this, so it costs them nothing.
        self._lag = DECODE_WEIGHT * chunk_tokens / min((1.0, *self._weights.values()))
        self._counters: dict[str, float] = {}
        self._fair_time = 0.0
        self._active: set[str] = set()
        self._active_weight = 0.0

    def served(self, tenant: str) -> float:
        """Return the tenant's counter: service by weight.

        Who lags behind the fair time is lifted to just below it, or a tenant could save up service
        while it is idle and then keep everybody else waiting.
        """
        return max(self._counters.get(tenant, 0.0), self._fair_time - self._lag)

    def ahead(self, tenant: str) -> bool:
        """Return whether the tenant has had much more than its share, and others need theirs."""
        allowed = self._fair_time + self._burst / self._weight(tenant)
        return self._counters.get(tenant, 0.0) > allowed

    def activate(self, tenant: str) -> None:
        """Note that the tenant has a request, parked or not."""
        self._active.add(tenant)
        self._active_weight = sum(map(self._weight, self._active))

    def deactivate(self, tenant: str) -> None:
        """Note that the tenant has none any more."""
        self._active.discard(tenant)
        self._active_weight = sum(map(self._weight, self._active))
        if self._counters.get(tenant, 0.0) <= self._fair_time - self._lag:
            self._counters.pop(tenant, None)

    def charge(self, tenant: str, prefill_tokens: int, decode_tokens: int) -> None:
        """Count service that an active tenant has got."""
        service = PREFILL_WEIGHT * prefill_tokens + DECODE_WEIGHT * decode_tokens
        self._counters[tenant] = self.served(tenant) + service / self._weight(tenant)
        self._fair_time += service / self._active_weight

    def forgive(self) -> None:
        """Forget who has had more: there was room for everybody, so nobody has lost by it."""
        self._fair_time = max((self._fair_time, *self._counters.values()))

    def merge(
        self,
        ranked: Iterable[str],
        tenant_of: Callable[[str], str],
        group_of: Callable[[str], Any],
        cost_of: Callable[[str], int],
    ) -> list[str]:
        """Return ``ranked`` with the tenants of a group taking turns.

        The tenant with the smallest counter goes next, of those that are even the one whose request
        ranks first, and what it takes is added to a copy of its counter, so that tenants share a
        single step as well. The order within a tenant stays.

        Args:
            ranked: Ids in the policy's order.
            tenant_of: Gives the tenant of an id.
            group_of: Gives the group of an id; the smallest goes first, whatever the counters.
            cost_of: Gives the prompt tokens that an id would take now.
        """
        queues: dict[str, list[tuple[int, str]]] = {}
        for rank, request_id in enumerate(ranked):
            queues.setdefault(tenant_of(request_id), []).append((rank, request_id))
        counters = {tenant: self.served(tenant) for tenant in queues}
        even = min(counters.values(), default=0.0) + self._slack

        def head(tenant: str, position: int) -> tuple[Any, float, int, str, int]:
            rank, request_id = queues[tenant][position]
            return (group_of(request_id), max(0.0, counters[tenant] - even), rank, tenant, position)

        heads = [head(tenant, 0) for tenant in queues]
        heapify(heads)
        merged: list[str] = []
        while heads:
            *_, tenant, position = heads[0]
            queue = queues[tenant]
            if len(heads) == 1:
                return merged + [request_id for _, request_id in queue[position:]]
            _, request_id = queue[position]
            merged.append(request_id)
            if position + 1 == len(queue):
                heappop(heads)
                continue
            counters[tenant] += PREFILL_WEIGHT * cost_of(request_id) / self._weight(tenant)
            heapreplace(heads, head(tenant, position + 1))
        return merged

    def _weight(self, tenant: str) -> float:
        return self._weights.get(tenant, 1.0)
