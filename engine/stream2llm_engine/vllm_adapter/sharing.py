"""Which tenant every request belongs to, what each has had, and whose turn it is."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Any

from stream2llm_engine.cost_model import TILE_TOKENS
from stream2llm_engine.fairness import FairShare
from stream2llm_engine.outputs import TenantStats
from stream2llm_engine.vllm_adapter.ranking import DECODING, RankingMixin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request

__all__ = ["SharingMixin"]

_NOBODYS = "default"
# Steps' worth of tokens within which tenants are even.
_SLACK_CHUNKS = 8


class SharingMixin(RankingMixin):
    """Lets tenants take turns; costs next to nothing while there is only one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shares = self._new_shares(None)
        self._fair_share = True
        # A tenant that is far ahead has complete prompts that let others' open ones go first.
        self._yields = False
        # Requests by tenant, parked sessions included.
        self._present: Counter[str] = Counter()
        self._computed: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()

    def _share_by(self, weights: Mapping[str, float] | None, *, fair_share: bool) -> None:
        self._shares = self._new_shares(weights)
        self._fair_share = fair_share
        for tenant in self._present:
            self._shares.activate(tenant)

    def _new_shares(self, weights: Mapping[str, float] | None) -> FairShare:
        chunk: int = self.max_num_scheduled_tokens
        return FairShare(weights, chunk_tokens=chunk, slack_tokens=_SLACK_CHUNKS * chunk)

    def _is_shared(self) -> bool:
        """Whether tenants have to share now."""
        return self._fair_share and self._policy.fair_share and len(self._present) > 1

    def _tenant_stats(self) -> dict[str, TenantStats]:
        sessions: Counter[str] = Counter(
            session.history.tenant for session in self._sessions.values() if not session.finalized
        )
        return {
            tenant: TenantStats(
                open_sessions=sessions[tenant],
                prefill_tokens=self._computed[tenant] - self._answered[tenant],
                decode_tokens=self._answered[tenant],
                served=self._shares.served(tenant),
            )
            for tenant in sorted({*self._present, *self._computed})
        }

    # -- who is there ----------------------------------------------------------------------------

    def add_request(self, request: Request) -> None:
        """Add a request of its session's tenant, or of the default one."""
        session = self._sessions.get(request.request_id)
        self._enroll(request.request_id, session.history.tenant if session else _NOBODYS)
        super().add_request(request)

    def _enroll(self, request_id: str, tenant: str) -> None:
        """Note whose request it is; the first to say so is right."""
        if request_id not in self._tenants:
            self._tenants[request_id] = tenant
            self._present[tenant] += 1
            if self._present[tenant] == 1:
                self._shares.activate(tenant)

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        tenant = self._tenants.pop(request.request_id, None)
        if tenant is not None:
            self._present[tenant] -= 1
            if not self._present[tenant]:
                del self._present[tenant]
                self._shares.deactivate(tenant)
        return super()._free_request(request, delay_free_blocks)

    # -- one step --------------------------------------------------------------------------------

    def _take_turns(self, ranked: list[str]) -> list[str]:
        """Return the ranking with the tenants taking turns behind the running answers.

        Complete prompts go before open ones, except those of tenants that are far ahead of their
        share: they go last, or what others could compute early would have to wait for them.
        """
        self._yields = False
        if not self._is_shared():
            return ranked
        keys, requests, sessions = self._keys, self.requests, self._sessions
        tenants = self._tenants
        budget: int = self.max_num_scheduled_tokens
        ahead = {tenant for tenant in self._present if self._shares.ahead(tenant)}

        def group(request_id: str) -> tuple[int, bool, bool]:
            session = sessions.get(request_id)
            is_open = session is not None and not session.finalized
            last = tenants[request_id] in ahead
            self._yields |= last and not is_open
            return requests[request_id].priority, last, is_open

        def cost(request_id: str) -> int:
            remaining = self._remaining(requests[request_id], sessions.get(request_id))
            return max(0, min(remaining, budget))

        answers = bisect_left(ranked, DECODING + 1, key=lambda i: keys[i][0])
        waiting = ranked[answers:]
        return ranked[:answers] + self._shares.merge(waiting, tenants.__getitem__, group, cost)

    def _open_budget(self, final_tokens: int, token_budget: int) -> int:
        """Return how many tokens open sessions may compute in a step.

        Where they have more to compute than that, the step is made of whole tiles.
        """
        if self._yields:
            return token_budget
        open_tokens = self._open_tokens.total
        budget = self._policy.open_token_budget(final_tokens, open_tokens, token_budget, self._cost)
        if budget >= min(open_tokens, token_budget):
            return budget
        used = self.max_num_scheduled_tokens - token_budget
        in_tiles = budget - (used + budget) % TILE_TOKENS
        return in_tiles if 2 * in_tiles >= budget else budget

    def _added_budget(self, finishing: int, waiting: int, token_budget: int) -> int:
        """Return how many tokens finalized prompts may add to a step that completes others."""
        return self._policy.added_token_budget(finishing, waiting, token_budget, self._cost)

    def _charge(self, output: SchedulerOutput, prefilling: Sequence[str]) -> None:
        """Count what a step computes for each tenant.

        Args:
            output: The step.
            prefilling: The requests of the step that had no answer yet.
        """
        scheduled = output.num_scheduled_tokens
        computed: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        if len(self._present) == 1:
            (tenant,) = self._present
            computed[tenant] = output.total_num_scheduled_tokens
            answered[tenant] = len(scheduled) - len(prefilling)
        else:
            no_answer = set(prefilling)
            for request_id, tokens in scheduled.items():
                tenant = self._tenants[request_id]
                computed[tenant] += tokens
                # Of a request that answers, one token is new; more are drafts or recomputed.
                answered[tenant] += request_id not in no_answer
        for tenant, tokens in computed.items():
            self._shares.charge(tenant, tokens - answered[tenant], answered[tenant])
        if len(self._present) > 1 and self._had_room(output):
            self._shares.forgive()
        self._computed.update(computed)
        self._answered.update(answered)

    def _had_room(self, output: SchedulerOutput) -> bool:
        """Whether a step left nobody waiting who had something new to compute."""
        if output.total_num_scheduled_tokens >= self.max_num_scheduled_tokens:
            return False
        for request in (*self.running, *self._backlog.values()):
            session = self._sessions.get(request.request_id)
            refill = session is not None and session.refill
            if not refill and request.request_id not in output.num_scheduled_tokens:
                return False
        return True
