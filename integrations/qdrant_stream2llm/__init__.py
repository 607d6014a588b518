"""Qdrant as a context source: an embedded index, or a collection behind a Qdrant client."""

from qdrant_stream2llm._client import QdrantSource
from qdrant_stream2llm._edge import EdgeSource
from qdrant_stream2llm._edge_index import BM25
from qdrant_stream2llm._embed import Embed, SyncEmbed
from qdrant_stream2llm._emission import Early
from qdrant_stream2llm._payload import PayloadKeys, PayloadReader, document_payload, point_id
from qdrant_stream2llm._retry import Retry
from qdrant_stream2llm._stages import Hybrid, Rerank, Stage
from qdrant_stream2llm.errors import (
    AccessDeniedError,
    CollectionNotFoundError,
    IndexInUseError,
    IndexNotFoundError,
    QdrantSourceError,
    SearchTimeoutError,
    ServerUnavailableError,
    VectorMismatchError,
)

__all__ = [
    "BM25",
    "AccessDeniedError",
    "CollectionNotFoundError",
    "Early",
    "EdgeSource",
    "Embed",
    "Hybrid",
    "IndexInUseError",
    "IndexNotFoundError",
    "PayloadKeys",
    "PayloadReader",
    "QdrantSource",
    "QdrantSourceError",
    "Rerank",
    "Retry",
    "SearchTimeoutError",
    "ServerUnavailableError",
    "Stage",
    "SyncEmbed",
    "VectorMismatchError",
    "document_payload",
    "point_id",
]
