"""Everything that a call of the command simulates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from stream2llm_engine.simulator import BASELINES, SimulationSettings
from stream2llm_rag.cli._simulate._workload import QuerySource
from stream2llm_rag.prompt import DocumentOrder

__all__ = ["Batch", "Plan", "Run"]

_BLOCKING, _STOCK = BASELINES


class Run(NamedTuple):
    """One simulation; ``None`` stands for what does not apply.

    Attributes:
        policy: A policy or a baseline.
        preemption: What happens to the KV of a victim.
        order: Where documents stand in the prompt.
        seed: Seed of the workload.
    """

    policy: str
    preemption: str | None
    order: DocumentOrder | None
    seed: int | None


class Batch(NamedTuple):
    """The simulations of one and the same workload."""

    seed: int | None
    order: DocumentOrder | None
    runs: list[Run]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is compared on what.

    Attributes:
        source: Where the queries come from.
        settings: The engine; policy and preemption are those of a run.
        policies: Policies and baselines.
        preemptions: Ways of preemption, for the policies that have a choice.
        orders: Document orders; only ``None`` where they make no difference.
        seeds: Seeds; only ``None`` where they make no difference.
    """

    source: QuerySource
    settings: SimulationSettings
    policies: list[str]
    preemptions: list[str]
    orders: list[DocumentOrder | None]
    seeds: list[int | None]

    def batches(self) -> Iterator[Batch]:
        """Yields the runs by workload, so that only one has to be in memory."""
        for seed in self.seeds:
            for order in self.orders:
                # What does not depend on the order is simulated in the first one.
                labels = {order, None} if order == self.orders[0] else {order}
                runs = [run for run in self.runs(seed) if run.order in labels]
                if runs:
                    yield Batch(seed, order, runs)

    def runs(self, seed: int | None) -> list[Run]:
        """Returns the runs of one seed, in the order of the result table."""
        return [
            Run(policy, preemption, order, seed)
            for policy in self.policies
            for preemption in self._preemptions(policy)
            for order in self._orders(policy)
        ]

    def settings_of(self, run: Run) -> SimulationSettings:
        """Returns the engine of a run."""
        settings = replace(self.settings, policy=run.policy)
        if run.preemption is None:
            return settings
        return replace(settings, preemption=cast("Any", run.preemption))

    def label(self, run: Run) -> str:
        """Returns a short name that tells the runs of a seed apart."""
        baseline = run.policy in BASELINES
        preemption = run.preemption if len(self.preemptions) > 1 and not baseline else None
        order = run.order if len(self.orders) > 1 else None
        return ", ".join(part for part in (run.policy, preemption, order) if part)

    def _preemptions(self, policy: str) -> list[str | None]:
        baselines: dict[str, list[str | None]] = {_BLOCKING: [None], _STOCK: ["recompute"]}
        return baselines.get(policy, [*self.preemptions])

    def _orders(self, policy: str) -> list[DocumentOrder | None]:
        # Blocking only ever sends the final prompt, which is as long in any order.
        return [None] if policy == _BLOCKING else self.orders
