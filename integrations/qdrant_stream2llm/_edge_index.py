"""The embedded engine: making an index, filling it, and what can go wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from qdrant_stream2llm._embed import is_sparse, plain_vector
from qdrant_stream2llm._payload import document_payload, point_id
from qdrant_stream2llm._stages import Stage
from qdrant_stream2llm.errors import IndexInUseError, IndexNotFoundError
from stream2llm_rag import Document
from stream2llm_rag.sources import typed_errors

__all__ = [
    "BM25",
    "bm25_query",
    "create_index",
    "edge_query",
    "edge_request",
    "index_points",
    "open_index",
]

BM25 = "bm25"
"""Name of the keyword vector of an index made with ``keywords=True``."""

_bm25 = edge.Bm25()


def bm25_query(texts: Sequence[str]) -> list[edge.SparseVector]:
    """Embeds queries for the keyword vector."""
    return [_bm25.embed_query(text) for text in texts]


def create_index(path: Path, size: int, *, quantized: bool, keywords: bool) -> None:
    """Makes an empty index.

    Args:
        path: Its directory.
        size: Dimension of the dense vectors.
        quantized: Keep 8-bit vectors beside the original ones.
        keywords: Keep keyword vectors beside the dense ones.
    """
    dense = edge.EdgeVectorParams(size=size, distance=edge.Distance.Cosine)
    sparse = {BM25: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)}
    options: dict[str, Any] = {"vectors": dense}
    if keywords:
        options["sparse_vectors"] = sparse
    if quantized:
        options |= {
            "quantization_config": edge.ScalarQuantizationConfig(
                type=edge.ScalarType.Int8, always_ram=True
            ),
            # Only indexed segments are quantized, and a small one is not indexed by default.
            "optimizers": edge.EdgeOptimizersConfig(indexing_threshold=1),
            "hnsw_config": edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=1),
        }
    path.mkdir(parents=True, exist_ok=True)
    edge.EdgeShard.create(str(path), edge.EdgeConfig(**options)).close()


def open_index(path: Path) -> tuple[edge.EdgeShard, bool]:
    """Opens an index; also tells whether it has keyword vectors.

    Raises:
        IndexNotFoundError: The directory holds none.
        IndexInUseError: It is open elsewhere.
        ContextSourceError: It cannot be read.
    """
    with _opening_errors(path):
        shard = edge.EdgeShard.load(str(path))
    try:
        shard.query(
            edge.QueryRequest(
                limit=1, query=edge.Query.Nearest(edge.SparseVector([0], [1.0]), using=BM25)
            )
        )
    except Exception:  # noqa: BLE001 - the engine raises nothing narrower for an unknown name
        return shard, False
    return shard, True


def index_points(
    documents: Sequence[Document], vectors: Sequence[Any], *, keywords: bool
) -> list[edge.Point]:
    """Returns documents as points."""
    return [
        edge.Point(
            point_id(document), _vectors(document, vector, keywords), document_payload(document)
        )
        for document, vector in zip(documents, vectors, strict=True)
    ]


def edge_query(vector: Any, using: str | None) -> edge.Query:
    """Returns the search for a dense or sparse vector."""
    if is_sparse(vector):
        vector = edge.SparseVector(list(vector.indices), list(vector.values))
    else:
        vector = plain_vector(vector)
    return edge.Query.Nearest(vector, using=using)


def edge_request(stage: Stage, query: edge.Query, query_filter: edge.Filter | None) -> Any:
    """Returns a stage's search as the engine takes it."""
    quantization = edge.QuantizationSearchParams(
        rescore=stage.rescore, oversampling=stage.oversampling
    )
    return edge.QueryRequest(
        limit=stage.limit,
        query=query,
        params=edge.SearchParams(
            hnsw_ef=stage.hnsw_ef,
            exact=stage.exact,
            quantization=quantization if stage.quantized else None,
        ),
        filter=stage.query_filter or query_filter,
        score_threshold=stage.score_threshold,
        with_payload=True,
    )


def _vectors(document: Document, vector: Any, keywords: bool) -> Any:
    dense = plain_vector(vector)
    return {"": dense, BM25: _bm25.embed_document(document.text)} if keywords else dense


@contextmanager
def _opening_errors(path: Path) -> Iterator[None]:
    what = f"opening the index in {path}"
    with typed_errors(what):
        try:
            yield
        except Exception as error:
            text = str(error)
            if "does not exist" in text or "no segments" in text:
                msg = f"{what}: there is none; make one with EdgeSource.create ({text})"
                raise IndexNotFoundError(msg) from error
            if "WouldBlock" in text:
                msg = (
                    f"{what}: another process or source has it open; close that one, or give each"
                    f" process an index of its own ({text})"
                )
                raise IndexInUseError(msg) from error
            raise
