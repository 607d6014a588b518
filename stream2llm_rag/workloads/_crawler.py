"""The append-only workload: a web search, then one page after the other."""

from collections.abc import Iterator
from typing import ClassVar, Self

from numpy.random import Generator
from pydantic import Field, model_validator

from stream2llm_engine.simulator import PromptEvent
from stream2llm_rag.workloads._base import Workload
from stream2llm_rag.workloads._tokens import (
    TokenSpace,
    document_sizes,
    prompt_events,
    template_ids,
)

__all__ = ["CrawlerWorkload"]


class CrawlerWorkload(Workload):
    """Pages of a crawl, appended as they come in.

    The first event is the template, sent when the search returns; each further event appends one
    page, and the last page makes the context final. Page boundaries, chunk counts and times are
    drawn independently. The defaults are fitted to the crawler trace of Stream2LLM (arXiv
    2604.16395): 4,309 queries, 7.86 chunks (median 8), gaps with a median of 700.7 ms, prompts with
    a median of 5,749 tokens. The search's own time and its spread follow from the published
    durations.

    Attributes:
        mean_chunks: Mean number of events, the template included. The number is binomial between
            the limits; with the defaults its standard deviation is 2.
        min_chunks: Fewest events; a single one is a search that found no page.
        max_chunks: Most events.
    """

    id_prefix: ClassVar[str] = "crawler"

    queries: int = Field(default=4309, ge=1)
    mean_chunks: float = 7.86
    min_chunks: int = Field(default=1, ge=1)
    max_chunks: int = Field(default=17, ge=1)
    first_event_median_s: float = Field(default=2.6, ge=0)
    first_event_sigma: float = Field(default=0.2, ge=0)
    gap_median_s: float = Field(default=0.7007, ge=0)
    gap_sigma: float = Field(default=0.90, ge=0)
    gap_cap_s: float = Field(default=35.0, gt=0)
    prompt_tokens_median: float = Field(default=5749, gt=0)
    prompt_tokens_sigma: float = Field(default=0.97, ge=0)
    # The log-normal alone is heavier tailed than the trace: with this cap the published tails
    # without streaming are met.
    prompt_tokens_cap: int = Field(default=70_000, gt=0)

    @model_validator(mode="after")
    def _check_chunks(self) -> Self:
        if not self.min_chunks <= self.mean_chunks <= self.max_chunks:
            msg = "mean_chunks must be between min_chunks and max_chunks"
            raise ValueError(msg)
        return self

    def _contexts(self, rng: Generator) -> Iterator[list[PromptEvent]]:
        space = TokenSpace()
        template = template_ids(self.template_tokens)
        for _ in range(self.queries):
            pages = self._chunks(rng) - 1
            delays_s = self._delays_s(rng, 1 + pages)
            tokens = self._document_tokens(rng)
            weights = rng.gamma(self.concentration, size=pages)
            documents: dict[int, list[int]] = {}
            if pages:
                sizes = document_sizes(weights, range(pages), tokens).tolist()
                documents = {page: space.document(size) for page, size in enumerate(sizes)}
            orders = [range(seen) for seen in range(1 + pages)]
            yield prompt_events(delays_s, orders, documents, template)

    def _chunks(self, rng: Generator) -> int:
        spread = self.max_chunks - self.min_chunks
        if spread == 0:
            return self.min_chunks
        share = (self.mean_chunks - self.min_chunks) / spread
        return self.min_chunks + int(rng.binomial(spread, share))
