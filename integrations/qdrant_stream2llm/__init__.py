"""Qdrant as a context source: an embedded index, or a collection behind ``AsyncQdrantClient``."""

from qdrant_stream2llm._client import QdrantSource
from qdrant_stream2llm._edge import EdgeSource
from qdrant_stream2llm._embed import Embed, SyncEmbed
from qdrant_stream2llm._payload import PayloadKeys, document_payload, point_id
from qdrant_stream2llm._stages import Stage

__all__ = [
    "EdgeSource",
    "Embed",
    "PayloadKeys",
    "QdrantSource",
    "Stage",
    "SyncEmbed",
    "document_payload",
    "point_id",
]
