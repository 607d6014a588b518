"""Where the queries come from: generated, or read from a trace file."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stream2llm_engine.simulator import SimulatedQuery
from stream2llm_rag.cli.errors import CommandError
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.workloads import AnnsWorkload, Workload, load_trace_file

__all__ = ["Generated", "QuerySource", "Recorded", "RecordedKnobs"]


class QuerySource(ABC):
    """A workload of the command.

    Attributes:
        name: ``"crawler"``, ``"anns"`` or the path of a trace file.
        seeded: Whether the seed makes a difference.
        ordered: Whether the document order makes a difference.
    """

    name: str
    seeded: bool
    ordered: bool

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of queries."""

    @property
    @abstractmethod
    def qps(self) -> float | None:
        """Mean rate of arrivals; ``None`` where all queries arrive at once."""

    @abstractmethod
    def queries(self, seed: int | None, order: DocumentOrder | None) -> list[SimulatedQuery]:
        """Returns the queries; ``None`` where seed or order make no difference."""

    @abstractmethod
    def knobs(self) -> dict[str, Any]:
        """Everything that the queries depend on, but for seed and order."""


class Generated(QuerySource):
    """A seeded workload with published statistics."""

    seeded = True

    def __init__(self, name: str, workload: Workload) -> None:
        self.name = name
        self.workload = workload
        self.ordered = isinstance(workload, AnnsWorkload)

    @property
    def count(self) -> int:
        """Number of queries."""
        return self.workload.queries

    @property
    def qps(self) -> float:
        """Mean rate of arrivals."""
        return self.workload.qps

    def queries(self, seed: int | None, order: DocumentOrder | None) -> list[SimulatedQuery]:
        """Generates the queries."""
        workload = self.workload
        if order is not None:
            workload = workload.model_copy(update={"order": order})
        return workload.generate(seed=seed or 0)

    def with_tenants(self, tenants: int, tenant_qps: float) -> "Generated":
        """The same contexts asked for by ``tenants`` tenants."""
        update = {"tenants": tenants, "qps": tenants * tenant_qps}
        return Generated(self.name, self.workload.model_copy(update=update))

    def knobs(self) -> dict[str, Any]:
        """The fields of the workload."""
        return self.workload.model_dump(exclude={"order"})


class RecordedKnobs(BaseModel):
    """What can be changed about a trace; ``None`` leaves it as it is."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    queries: int | None = Field(default=None, ge=1)
    qps: float | None = Field(default=None, gt=0)
    delay_multiplier: float = Field(default=1.0, ge=0)


class Recorded(QuerySource):
    """A trace file.

    Args:
        path: The file.
        knobs: What is changed about it.

    Raises:
        ContextSourceError: The file is not a trace.
        CommandError: The trace has no rate that could be changed.
    """

    seeded = False

    def __init__(self, path: Path, knobs: RecordedKnobs) -> None:
        self.name = str(path)
        self._knobs = knobs
        self._recorded = load_trace_file(path)[: knobs.queries]
        self._by_rank = load_trace_file(path, order="rank")[: knobs.queries]
        self.ordered = self._recorded != self._by_rank
        self._own_qps = _mean_qps(self._recorded)
        self._sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if knobs.qps is not None and self._own_qps is None:
            msg = f"all queries of {path} arrive at once, so --qps cannot stretch it: leave it out"
            raise CommandError(msg)

    @property
    def count(self) -> int:
        """Number of queries."""
        return len(self._recorded)

    @property
    def qps(self) -> float | None:
        """Mean rate of arrivals."""
        return self._knobs.qps or self._own_qps

    def queries(self, seed: int | None, order: DocumentOrder | None) -> list[SimulatedQuery]:
        """Returns the recorded queries at the rate and with the delays asked for."""
        del seed
        loaded = self._by_rank if order == "rank" else self._recorded
        stretch = 1.0
        if self._knobs.qps is not None and self._own_qps is not None:
            stretch = self._own_qps / self._knobs.qps
        return [self._changed(query, stretch) for query in loaded]

    def knobs(self) -> dict[str, Any]:
        """The file and what is changed about it."""
        own = {"path": self.name, "sha256": self._sha256, "recorded_qps": self._own_qps}
        return {**own, **self._knobs.model_dump(), "queries": self.count, "qps": self.qps}

    def _changed(self, query: SimulatedQuery, stretch: float) -> SimulatedQuery:
        delay = self._knobs.delay_multiplier
        events = [replace(event, delay_s=event.delay_s * delay) for event in query.events]
        return replace(query, arrival_s=query.arrival_s * stretch, events=events)


def _mean_qps(queries: Sequence[SimulatedQuery]) -> float | None:
    span_s = queries[-1].arrival_s - queries[0].arrival_s
    return (len(queries) - 1) / span_s if span_s > 0 else None
