"""What a simulation is fed with: prompts as they arrive, in tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PromptEvent", "SimulatedQuery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEvent:
    """One change to the prompt of a query.

    Attributes:
        delay_s: Seconds since the event before, or since the arrival of the query.
        token_ids: Tokens to append, or the whole new prompt (without the question). An event that
            appends nothing leaves the prompt as it is.
        replace: Whether ``token_ids`` is the whole new prompt.
    """

    delay_s: float
    token_ids: list[int]
    replace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedQuery:
    """One query of a tenant.

    Attributes:
        query_id: Unique within a workload.
        arrival_s: When the user asks, in seconds since the start of the trace.
        events: Changes to the prompt in order; the last one makes the context final.
        question: Tokens that follow the context once it is final; may be empty.
        output_tokens: Tokens of the answer.
        tenant: Whom the query belongs to.
    """

    query_id: str
    arrival_s: float
    events: list[PromptEvent]
    question: list[int] = field(default_factory=list)
    output_tokens: int = 1
    tenant: str = "default"

    @property
    def final_s(self) -> float:
        """When the context is final, in seconds since the start of the trace."""
        return self.arrival_s + sum(event.delay_s for event in self.events)

    def final_prompt(self) -> list[int]:
        """Return the complete prompt, question included."""
        prompt: list[int] = []
        for event in self.events:
            prompt = list(event.token_ids) if event.replace else prompt + event.token_ids
        return prompt + self.question

    def longest_prompt(self) -> int:
        """Return the tokens of the longest prompt on the way, question left out."""
        longest = length = 0
        for event in self.events:
            length = len(event.token_ids) + (0 if event.replace else length)
            longest = max(longest, length)
        return longest
