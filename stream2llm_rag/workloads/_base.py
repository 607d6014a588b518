"""What both generated workloads have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream2llm_engine.simulator import PromptEvent, SimulatedQuery
from stream2llm_rag.workloads._arrivals import arrival_times
from stream2llm_rag.workloads._tokens import question_ids

__all__ = ["Workload"]


class Workload(BaseModel, ABC):
    """A seeded workload: how many queries arrive when, and how their contexts come in.

    Log-normal knobs are given as the median and the standard deviation of the logarithm (sigma).

    Attributes:
        queries: Number of queries.
        qps: Mean arrivals a second.
        arrival_cv: Coefficient of variation of the gaps between arrivals: 1 is Poisson, more comes
            in bursts.
        tenants: Queries are assigned to ``"tenant-0"``, ``"tenant-1"``, ... at random.
        delay_multiplier: Factor on every delay of a query, the first one included.
        first_event_median_s: Seconds from the query to the first event.
        first_event_sigma: Its sigma.
        gap_median_s: Seconds between two events of a query.
        gap_sigma: Its sigma.
        gap_cap_s: No gap is longer, before ``delay_multiplier``.
        prompt_tokens_median: Tokens of the final prompt, template and question included.
        prompt_tokens_sigma: Its sigma.
        prompt_tokens_cap: No prompt is longer, at no time.
        concentration: How evenly the tokens of a prompt are split over its documents: the parameter
            of a symmetric Dirichlet distribution. 1 makes every split equally likely, more makes
            the documents more alike. Ours, no trace publishes it.
        template_tokens: Tokens before the documents, the same for all queries.
        question_tokens: Tokens behind the documents, the same for all queries.
        output_tokens: Tokens of every answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id_prefix: ClassVar[str]

    queries: int = Field(ge=1)
    qps: float = Field(default=1.0, gt=0)
    arrival_cv: float = Field(default=1.0, gt=0)
    tenants: int = Field(default=1, ge=1)
    delay_multiplier: float = Field(default=1.0, ge=0)
    first_event_median_s: float = Field(ge=0)
    first_event_sigma: float = Field(ge=0)
    gap_median_s: float = Field(ge=0)
    gap_sigma: float = Field(ge=0)
    gap_cap_s: float = Field(gt=0)
    prompt_tokens_median: float = Field(gt=0)
    prompt_tokens_sigma: float = Field(ge=0)
    prompt_tokens_cap: int = Field(default=120_000, gt=0)
    concentration: float = Field(default=1.0, ge=0.1)
    template_tokens: int = Field(default=60, ge=1)
    question_tokens: int = Field(default=30, ge=0)
    output_tokens: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check_cap(self) -> Self:
        if self._most_document_tokens < 1:
            msg = "prompt_tokens_cap must leave room behind template_tokens and question_tokens"
            raise ValueError(msg)
        return self

    def generate(self, *, seed: int = 0) -> list[SimulatedQuery]:
        """Returns the queries in order of arrival.

        Arrivals, tenants and contexts have random streams of their own: the contexts of a seed are
        the same at every rate, and the first queries are the same whatever their number.
        """
        arrival_rng, tenant_rng, context_rng = np.random.default_rng(seed).spawn(3)
        arrivals = arrival_times(self.queries, self.qps, arrival_rng, self.arrival_cv)
        tenants = tenant_rng.integers(self.tenants, size=self.queries).tolist()
        question = question_ids(self.question_tokens)
        return [
            SimulatedQuery(
                query_id=f"{self.id_prefix}-{number}",
                arrival_s=arrival_s,
                events=events,
                question=question.copy(),
                output_tokens=self.output_tokens,
                tenant=f"tenant-{tenant}",
            )
            for number, (arrival_s, tenant, events) in enumerate(
                zip(arrivals, tenants, self._contexts(context_rng), strict=True)
            )
        ]

    @abstractmethod
    def _contexts(self, rng: Generator) -> Iterator[list[PromptEvent]]:
        """Yields the events of one query after the other."""

    def _delays_s(self, rng: Generator, events: int) -> list[float]:
        first = self.first_event_median_s * rng.lognormal(0.0, self.first_event_sigma)
        gaps = self.gap_median_s * rng.lognormal(0.0, self.gap_sigma, events - 1)
        delays: list[float] = np.concatenate(([first], gaps.clip(max=self.gap_cap_s))).tolist()
        return [delay * self.delay_multiplier for delay in delays]

    def _document_tokens(self, rng: Generator) -> int:
        prompt = self.prompt_tokens_median * rng.lognormal(0.0, self.prompt_tokens_sigma)
        return min(round(prompt) - self._fixed_tokens, self._most_document_tokens)

    @property
    def _fixed_tokens(self) -> int:
        return self.template_tokens + self.question_tokens

    @property
    def _most_document_tokens(self) -> int:
        return self.prompt_tokens_cap - self._fixed_tokens
