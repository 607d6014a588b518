"""Shortest remaining prefill time first, aged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream2llm_engine.policies._base import Policy

if TYPE_CHECKING:
    from stream2llm_engine.cost_model import CostModel
    from stream2llm_engine.policies._base import RequestView

__all__ = ["ShortestRemainingPrefill"]


class ShortestRemainingPrefill(Policy):
    """Finalized prompts by remaining prefill time, aged; then open ones by expected completion.

    Shortest remaining processing time (Schrage, 1968) minimises the mean wait and starves the long.
    Aging bounds that: the key of a finalized request is ``remaining + AGING * time of finalizing``,
    so a request with ``R`` seconds of prefill left is overtaken only by those that were finalized
    less than ``R / AGING`` seconds after it, whatever the load.

    Open sessions go by the time at which their prompt is expected to be complete (earliest deadline
    first), less ``LEAD`` times the prefill that is left: what is left of the longest prompts when
    they are final makes the longest waits. They compute in steps that serve no finalized prompt;
    beside running answers, a short step's worth.

    A prompt that a step completes waits for all that is added to the step. So finalized prompts are
    added only as far as the steps that this saves to everyone behind are worth the wait.

    KV is taken for finalized prompts alone, from the victims that will miss it least. What an open
    session takes early another has to compute again, so open ones live off free blocks, and new
    ones leave a reserve to those that are further on.
    """

    name = "srpt"
    open_takes_blocks = False
    reserve = 0.05
    prices_victims = True
    holds_back_unsettled = True
    AGING = 0.1
    # How much earlier an open prompt falls due for each second of prefill that it lacks. More than
    # 1, because under load it gets a small share of the machine's time until it is final.
    LEAD = 16.0
    # Longest step, in seconds, that open sessions may make while no finalized prompt waits: one
    # that arrives meanwhile waits for it, as does the next token of a running answer.
    OPEN_STEP_S = 0.03
    # Share of their work that such a step computes at least, while that saves much of what every
    # step costs: up to so many times the tokens that could be computed for it. Fewer steps are then
    # worth more to everyone who will be final soon than a short wait is to one.
    BACKLOG_SHARE = 0.2
    MOST_OVERHEADS = 4.0

    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return ``(open?, aged remaining prefill, or when to be served at the latest)``."""
        if request.finalized:
            return (0.0, request.remaining_s + self.AGING * request.last_event_s)
        return (1.0, request.expected_final_s - self.LEAD * request.remaining_s)

    def added_token_budget(
        self, finishing: int, waiting: int, token_budget: int, cost: CostModel
    ) -> int:
        """Return what costs those who finish no more time than those who wait are spared."""
        return min(token_budget, int(cost.overhead_tokens * waiting / finishing))

    def open_token_budget(
        self, final_tokens: int, open_tokens: int, token_budget: int, cost: CostModel
    ) -> int:
        """Return what keeps the step short for finalized prompts, present or to come."""
        if final_tokens:
            return 0
        # Where a step costs that much whatever it computes, doubling it is worth it.
        overhead = max(1.0, cost.overhead_tokens)
        shared = min(self.BACKLOG_SHARE * open_tokens, self.MOST_OVERHEADS * overhead)
        worthwhile = int(max(overhead, shared))
        return min(token_budget, max(worthwhile, cost.tokens_within(self.OPEN_STEP_S)))
