"""Several rankings as one."""

from collections.abc import Sequence

from qdrant_client import models
from qdrant_client.hybrid.fusion import reciprocal_rank_fusion

from stream2llm_rag import Document

__all__ = ["fused"]


def fused(
    rankings: Sequence[tuple[Document, ...]], limit: int, weights: Sequence[float] | None = None
) -> tuple[Document, ...]:
    """Fuses rankings by reciprocal rank, with Qdrant's own formula; the scores are the fusion's.

    Args:
        rankings: Ranked documents, each id once in each.
        limit: How many documents to return.
        weights: How much each ranking counts.
    """
    documents: dict[str, Document] = {}
    for ranking in rankings:
        for document in ranking:
            documents.setdefault(document.id, document)
    numbers = {name: number for number, name in enumerate(documents)}
    points = [
        [models.ScoredPoint(id=numbers[document.id], version=0, score=0.0) for document in ranking]
        for ranking in rankings
    ]
    best = reciprocal_rank_fusion(points, limit, weights=list(weights) if weights else None)
    by_number = list(documents.values())
    return tuple(by_number[int(p.id)].model_copy(update={"score": p.score}) for p in best)
