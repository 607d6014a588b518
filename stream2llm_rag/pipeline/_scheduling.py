"""Whose a question is and how urgent."""

from dataclasses import dataclass

__all__ = ["Scheduling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """What the engine is told about a question besides its prompt.

    Attributes:
        tenant: Whose share of the engine the question uses.
        priority: The smallest goes first, before turns of tenants and the engine's policy.
        deadline_s: Seconds within which the answer has to be complete; ``None``: no bound.
    """

    tenant: str = "default"
    priority: int = 0
    deadline_s: float | None = None

    def changed(
        self, tenant: str | None, priority: int | None, deadline_s: float | None
    ) -> "Scheduling":
        """Returns the same with what is given in the place of its own."""
        return Scheduling(
            tenant=self.tenant if tenant is None else tenant,
            priority=self.priority if priority is None else priority,
            deadline_s=self.deadline_s if deadline_s is None else deadline_s,
        )
