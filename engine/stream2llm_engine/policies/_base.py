"""What a policy is, and what it may know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from stream2llm_engine.cost_model import CostModel

__all__ = ["Policy", "RequestView"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """What a policy may know about a request.

    Attributes:
        request_id: Unique, used as the last tie-break.
        tenant: Whom the request belongs to.
        arrival_s: When the request (its first chunk, for a session) arrived, in seconds.
        last_event_s: When its latest chunk arrived, in seconds; for a finalized one, its last.
        finalized: The prompt is complete; true for every ordinary request.
        idle: An open session with nothing new to compute. It may have lost KV to others.
        remaining_tokens: Prompt tokens that are known and not computed.
        computed_tokens: Tokens whose KV is on the device or in host memory.
        remaining_s: Predicted seconds to prefill the remaining tokens on an idle machine.
        expected_final_s: When the prompt is expected to be complete, in seconds on the clock of
            ``arrival_s``, learned from the gaps between events; ``last_event_s`` once it is.
    """

    request_id: str
    tenant: str = "default"
    arrival_s: float
    last_event_s: float
    finalized: bool
    idle: bool = False
    remaining_tokens: int
    computed_tokens: int
    remaining_s: float = 0.0
    expected_final_s: float = 0.0


class Policy(ABC):
    """Ranks requests for tokens and KV blocks. One method is all that a policy needs.

    A key is computed when something about its request changed, not every step, so it must depend on
    the view alone, never on a clock. Requests that are producing output go before everything a
    policy ranks: each needs a single token a step, and users are reading along.

    Attributes:
        name: What configurations and results call the policy.
        open_takes_blocks: Whether open sessions take KV blocks from whoever ranks below them.
            Otherwise they live off free blocks, and off sessions that are long overdue; finalized
            prompts always take what they need.
        reserve: Share of the KV pool, 0 to 1, that sessions leave free when they get their first
            blocks, or get back what an idle one lost.
        prices_victims: Whether the victims that cost least per block and second of expected pause
            go first; otherwise the lowest ranked.
        holds_back_unsettled: Whether tokens that the next update probably replaces are computed
            only when nothing else is left to do.
        fair_share: Whether tenants take turns, each in the order of the keys. A policy that ranks
            one tenant before another says no.
    """

    name: ClassVar[str]
    open_takes_blocks: ClassVar[bool] = True
    reserve: ClassVar[float] = 0.0
    prices_victims: ClassVar[bool] = False
    holds_back_unsettled: ClassVar[bool] = False
    fair_share: ClassVar[bool] = True

    @abstractmethod
    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return the rank of ``request``: the smallest goes first, ties go by arrival and id.

        All keys of a policy have the same length.
        """

    def added_token_budget(
        self, finishing: int, waiting: int, token_budget: int, cost: CostModel
    ) -> int:
        """Return how many tokens finalized prompts may add to a step that completes others.

        Args:
            finishing: Better-ranked prompts that the step completes.
            waiting: Finalized prompts behind them, this one included.
            token_budget: Tokens that the step still has.
            cost: Prices of the hardware.
        """
        del finishing, waiting, cost
        return token_budget

    def open_token_budget(
        self, final_tokens: int, open_tokens: int, token_budget: int, cost: CostModel
    ) -> int:
        """Return how many tokens open sessions may compute in a step.

        Args:
            final_tokens: Tokens that finalized prompts compute in the same step, running answers
                aside.
            open_tokens: Tokens that open sessions have to compute by now, all of them together.
            token_budget: Tokens that the step still has.
            cost: Prices of the hardware.
        """
        del final_tokens, open_tokens, cost
        return token_budget
