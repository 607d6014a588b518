"""Retrieval in stages: a quick ranking first, better ones as updates."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from stream2llm_rag import Append, Document, Update
from stream2llm_rag.sources import typed_errors

__all__ = ["Stage", "run_stages"]


class Stage(BaseModel):
    """One query to the index.

    Stages pay off only where each costs real time: a server behind a network, original vectors on
    disk behind quantized ones in memory, many million points. An index in memory answers within
    milliseconds, far less than what a changed ranking costs in prefill: use one stage there.

    Attributes:
        limit: How many documents.
        hnsw_ef: Breadth of the graph search; None leaves it to the index.
        exact: Compare with every vector instead of searching the graph.
        rescore: Whether to rescore quantized hits with the original vectors; None leaves it to the
            index.
        oversampling: How many times ``limit`` to take from the quantized vectors before rescoring.
        score_threshold: Least score of a hit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=5, gt=0)
    hnsw_ef: int | None = None
    exact: bool = False
    rescore: bool | None = None
    oversampling: float | None = Field(default=None, ge=1)
    score_threshold: float | None = None

    @property
    def quantized(self) -> bool:
        """Whether the stage says anything about quantized vectors."""
        return self.rescore is not None or self.oversampling is not None


async def run_stages(
    what: str,
    stages: Sequence[Stage],
    query_stage: Callable[[Stage], Awaitable[tuple[Document, ...]]],
) -> AsyncGenerator[Append | Update, None]:
    """Yields the first stage's documents, then every ranking that differs from the one before."""
    before: tuple[str, ...] | None = None
    for stage in stages:
        with typed_errors(what):
            documents = await query_stage(stage)
        ranking = tuple(document.id for document in documents)
        if before is None:
            yield Append(documents=documents)
        elif ranking != before:
            yield Update(documents=documents)
        before = ranking
