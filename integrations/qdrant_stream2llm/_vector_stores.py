"""What existing vector stores of LangChain and LlamaIndex know, read without importing them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qdrant_client import models

from qdrant_stream2llm._embed import Embed
from qdrant_stream2llm._payload import PayloadKeys, PayloadReader
from qdrant_stream2llm._stages import AnyStage, Hybrid, Stage
from stream2llm_rag import Document
from stream2llm_rag.sources import typed_errors

__all__ = ["StoreParts", "read_store"]


class StoreParts(NamedTuple):
    """What a ``QdrantSource`` takes."""

    client: Any
    collection: str
    embed: Embed
    stages: Sequence[AnyStage]
    using: str | None
    payload_keys: PayloadReader


def read_store(store: Any, embed: Embed | None, limit: int) -> StoreParts:
    """Returns the parts of a store.

    Raises:
        TypeError: ``store`` is not a ``QdrantVectorStore``.
        ValueError: There is no embedding.
    """
    if hasattr(store, "content_payload_key"):
        return _read_langchain(store, embed, limit)
    if hasattr(store, "dense_vector_name"):
        return _read_llama_index(store, embed, limit)
    msg = (
        f"{type(store).__qualname__} is not a QdrantVectorStore of langchain_qdrant or LlamaIndex;"
        " for another store use QdrantSource(client, collection, embed)"
    )
    raise TypeError(msg)


def _read_langchain(store: Any, embed: Embed | None, limit: int) -> StoreParts:
    sparse = store.sparse_vector_name
    keys = PayloadKeys(text=store.content_payload_key, metadata=store.metadata_payload_key)
    mode = getattr(store.retrieval_mode, "value", store.retrieval_mode)
    if mode == "sparse":
        query = embed or _langchain_sparse(store)
        stages: list[AnyStage] = [Stage(limit=limit)]
        return StoreParts(store.client, store.collection_name, query, stages, sparse, keys)
    dense = _needed(embed or store.embeddings)
    using = store.vector_name or None
    stages = [Stage(limit=limit)]
    if mode == "hybrid":
        stages = _hybrid(Stage(limit=limit, using=sparse, embed=_langchain_sparse(store)), limit)
    return StoreParts(store.client, store.collection_name, dense, stages, using, keys)


def _read_llama_index(store: Any, embed: Embed | None, limit: int) -> StoreParts:
    stages: list[AnyStage] = [Stage(limit=limit)]
    if store.enable_hybrid:
        sparse = Stage(limit=limit, using=store.sparse_vector_name, embed=_llama_sparse(store))
        stages = _hybrid(sparse, limit)
    return StoreParts(
        store._aclient or store._client,
        store.collection_name,
        _needed(embed),
        stages,
        store.dense_vector_name or None,
        _Nodes(store),
    )


class _Nodes:
    """Reads payloads as the nodes that a LlamaIndex store wrote."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def document(
        self, point: str, payload: Mapping[str, Any] | None, score: float | None
    ) -> Document:
        found = models.ScoredPoint(id=point, version=0, score=score or 0.0, payload=payload)
        with typed_errors(f"reading point {point} as a node of LlamaIndex"):
            (node,) = self._store.parse_to_query_result([found]).nodes
            return Document(
                id=node.node_id, text=node.get_content(), score=score, metadata=node.metadata
            )


def _hybrid(sparse: Stage, limit: int) -> list[AnyStage]:
    return [Hybrid(searches=(Stage(limit=limit), sparse), limit=limit)]


def _needed(embed: Embed | None) -> Embed:
    if embed is None:
        msg = "the store has no embedding: pass embed=, for example the index's embed_model"
        raise ValueError(msg)
    return embed


def _langchain_sparse(store: Any) -> Embed:
    def embed(texts: Sequence[str]) -> list[Any]:
        return [store.sparse_embeddings.embed_query(text) for text in texts]

    return embed


def _llama_sparse(store: Any) -> Embed:
    def embed(texts: Sequence[str]) -> list[models.SparseVector]:
        encode = store._sparse_query_fn
        return [
            models.SparseVector(indices=indices, values=values)
            for indices, values in zip(*encode(list(texts)), strict=True)
        ]

    return embed
