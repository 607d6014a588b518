"""The update workload: snapshots of a vector search's candidate pool."""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from numpy.random import Generator
from pydantic import Field, model_validator

from stream2llm_engine.simulator import PromptEvent
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.prompt._order import prompt_order
from stream2llm_rag.workloads._base import Workload
from stream2llm_rag.workloads._ranked_pool import ranked_snapshots
from stream2llm_rag.workloads._shared_corpus import SharedCorpus
from stream2llm_rag.workloads._tokens import (
    TokenSpace,
    document_sizes,
    prompt_events,
    template_ids,
)

__all__ = ["AnnsWorkload"]


class AnnsWorkload(Workload):
    """Ranked lists of a running top-k search; each one replaces the list before.

    The defaults for counts, times and prompt lengths are fitted to the approximate nearest
    neighbour trace of Stream2LLM (arXiv 2604.16395): 500 queries, 4.42 snapshots (median 4), gaps
    with a median of 36.7 ms, final prompts with a median of 10,126 tokens. What changes between two
    snapshots is not published. ``documents_per_snapshot`` is our own choice. ``replacement_rate``,
    and ``rerank_rate`` as twice that, are fitted: with the long wait at the end, streaming in
    ``"rank"`` order under ``fcfs`` then has the published median TTFT relative to blocking, 0.56 at
    0.25 and 0.62 at 0.5 queries a second (simulated: 0.51 and 0.61). Results that depend on them
    should vary them.

    Attributes:
        order: Where documents stand in the prompt: ``"stable"`` keeps those that are there in
            place, ``"rank"`` follows the ranking. Both see the same ranked lists.
        long_wait: Where the long wait of a query is (``first_event_median_s``). ``"last"``: a
            search finds its candidates within half a second, then goes on without a change until
            it ends, and a list is sent when it is replaced. So the artifact replays its traces,
            whose published gaps add up to 0.54 s of the 3.63 s that a search takes. ``"first"``:
            nothing comes for that long, then lists in quick succession, the harder case for
            streaming.
        mean_snapshots: Mean number of events before clipping; one plus a negative binomial number.
        min_snapshots: Fewest events.
        max_snapshots: Most events.
        snapshots_dispersion: Size parameter of the negative binomial distribution: the smaller,
            the heavier the tail.
        documents_per_snapshot: Length of every ranked list.
        replacement_rate: Expected share of a list's documents that are new in it. A newcomer takes
            any rank with equal probability and pushes the worst survivor out.
        rerank_rate: Expected share of the survivors that move, one after the other, to a random
            other rank.
        shared_corpus: Documents that all queries search; 0 gives every query documents of its own.
            With a shared corpus a document has its length once and for all, log-normal with the
            prompt's sigma, so prompts keep their mean and vary less.
        zipf_exponent: Popularity of the shared documents: the n-th is drawn in proportion to
            ``n ** -zipf_exponent``.
    """

    id_prefix: ClassVar[str] = "anns"

    queries: int = Field(default=500, ge=1)
    order: DocumentOrder = "stable"
    long_wait: Literal["last", "first"] = "last"
    mean_snapshots: float = Field(default=4.42, ge=1)
    min_snapshots: int = Field(default=1, ge=1)
    max_snapshots: int = Field(default=26, ge=1)
    snapshots_dispersion: float = Field(default=2.0, gt=0)
    documents_per_snapshot: int = Field(default=10, ge=1)
    replacement_rate: float = Field(default=0.03, ge=0, le=1)
    rerank_rate: float = Field(default=0.06, ge=0, le=1)
    shared_corpus: int = Field(default=0, ge=0)
    zipf_exponent: float = Field(default=1.0, ge=0, le=5)
    first_event_median_s: float = Field(default=3.1, ge=0)
    first_event_sigma: float = Field(default=0.15, ge=0)
    gap_median_s: float = Field(default=0.0367, ge=0)
    gap_sigma: float = Field(default=1.77, ge=0)
    gap_cap_s: float = Field(default=9.0, gt=0)
    prompt_tokens_median: float = Field(default=10126, gt=0)
    prompt_tokens_sigma: float = Field(default=0.68, ge=0)

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.min_snapshots > self.max_snapshots:
            msg = "min_snapshots must not exceed max_snapshots"
            raise ValueError(msg)
        most = self.documents_per_snapshot * self.max_snapshots
        if 0 < self.shared_corpus < most:
            msg = f"shared_corpus must be 0 or at least {most}, the most that one query can see"
            raise ValueError(msg)
        return self

    def _contexts(self, rng: Generator) -> Iterator[list[PromptEvent]]:
        space = TokenSpace()
        template = template_ids(self.template_tokens)
        corpus = self._corpus(rng, space) if self.shared_corpus else None
        for _ in range(self.queries):
            snapshots = ranked_snapshots(
                rng,
                snapshots=self._snapshots(rng),
                documents=self.documents_per_snapshot,
                replacement_rate=self.replacement_rate,
                rerank_rate=self.rerank_rate,
            )
            delays_s = self._delays_s(rng, len(snapshots))
            if self.long_wait == "last":
                delays_s = [*delays_s[1:], delays_s[0]]
            documents = (
                self._own_documents(rng, space, snapshots)
                if corpus is None
                else corpus.draw(rng, _candidates(snapshots))
            )
            orders: list[list[int]] = []
            for ranked in snapshots:
                orders.append(prompt_order(orders[-1] if orders else (), ranked, self.order))
            yield prompt_events(delays_s, orders, dict(enumerate(documents)), template)

    def _snapshots(self, rng: Generator) -> int:
        further = self.mean_snapshots - 1
        chance = self.snapshots_dispersion / (self.snapshots_dispersion + further)
        count = 1 + int(rng.negative_binomial(self.snapshots_dispersion, chance))
        return min(max(count, self.min_snapshots), self.max_snapshots)

    def _own_documents(
        self, rng: Generator, space: TokenSpace, snapshots: list[list[int]]
    ) -> list[list[int]]:
        tokens = self._document_tokens(rng)
        weights = rng.gamma(self.concentration, size=_candidates(snapshots))
        heaviest = max(weights[ranked].sum() for ranked in snapshots)
        final = snapshots[-1]
        # An earlier snapshot can be longer than the final one, and must not exceed the cap either.
        # Rounding adds at most one token a document.
        most = self._most_document_tokens - self.documents_per_snapshot
        tokens = min(tokens, int(most * weights[final].sum() / heaviest))
        return [space.document(size) for size in document_sizes(weights, final, tokens).tolist()]

    def _corpus(self, rng: Generator, space: TokenSpace) -> SharedCorpus:
        median = self.prompt_tokens_median / self.documents_per_snapshot
        sizes = median * rng.lognormal(0.0, self.prompt_tokens_sigma, self.shared_corpus)
        most = self._most_document_tokens / self.documents_per_snapshot
        return SharedCorpus(space, sizes.clip(max=most), self.zipf_exponent)


def _candidates(snapshots: list[list[int]]) -> int:
    return 1 + max(map(max, snapshots))
