"""What a source does one after the other: searches, and reranking what they found."""

from typing import Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream2llm_rag.sources import Reranker

__all__ = ["AnyStage", "Hybrid", "Rerank", "Stage", "check_order"]


class Stage(BaseModel):
    """One search.

    Searches one after the other pay off only where each costs real time: a server behind a network,
    original vectors on disk behind quantized ones in memory, many million points. An index in
    memory answers within milliseconds, far less than what a changed ranking costs in prefill.

    Attributes:
        limit: How many documents.
        hnsw_ef: Breadth of the graph search; None leaves it to the index.
        exact: Compare with every vector instead of searching the graph.
        rescore: Whether to rescore quantized hits with the original vectors; None leaves it to the
            index.
        oversampling: How many times ``limit`` to take from the quantized vectors before rescoring.
        score_threshold: Least score of a hit.
        using: Name of the vector; None takes the source's.
        embed: Embedding of the query for that vector; None takes the source's.
        query_filter: Filter of this search; None takes the source's.
        collection: Another collection than the source's. Its documents have its name in their ids,
            unless their payload has an id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=5, gt=0)
    hnsw_ef: int | None = None
    exact: bool = False
    rescore: bool | None = None
    oversampling: float | None = Field(default=None, ge=1)
    score_threshold: float | None = None
    using: str | None = None
    embed: Any = None
    query_filter: Any = None
    collection: str | None = None

    @property
    def quantized(self) -> bool:
        """Whether the stage says anything about quantized vectors."""
        return self.rescore is not None or self.oversampling is not None

    def searches_like(self, other: "Stage") -> bool:
        """Whether both compare the same query with the same vectors, however thoroughly."""
        mine = (self.using, self.query_filter, self.collection)
        return self.embed is other.embed and mine == (
            other.using,
            other.query_filter,
            other.collection,
        )


class Hybrid(BaseModel):
    """Searches side by side, fused: dense and sparse vectors, or several collections.

    What a search finds counts as soon as it is there; the ranking of the stage is the fusion of all
    by reciprocal rank, as Qdrant computes it.

    Attributes:
        searches: At least two.
        limit: How many documents to keep.
        weights: How much each search counts; by default all the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    searches: tuple[Stage, ...] = Field(min_length=2)
    limit: int = Field(default=5, gt=0)
    weights: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.searches):
            msg = f"{len(self.weights)} weights for {len(self.searches)} searches"
            raise ValueError(msg)
        return self


class Rerank(BaseModel):
    """Reranks what the stage before found.

    Attributes:
        reranker: Takes the query and the ranked documents and returns those to keep, best first;
            sync or async, a sync one runs in a thread.
        limit: How many of these to keep; None: all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reranker: Reranker
    limit: int | None = Field(default=None, gt=0)


AnyStage: TypeAlias = Stage | Hybrid | Rerank


def check_order(stages: tuple[AnyStage, ...]) -> None:
    """Refuses stages that cannot follow each other.

    Raises:
        ValueError: There is none, or a search does not stand before all reranking.
    """
    if not stages:
        msg = "a source needs at least one stage"
        raise ValueError(msg)
    reranks = [isinstance(stage, Rerank) for stage in stages]
    if reranks[0] or reranks != sorted(reranks):
        msg = "searches come first and Rerank behind them: it reranks what they found"
        raise ValueError(msg)
