"""A Qdrant collection as a context source."""

import warnings
from collections.abc import AsyncGenerator, Sequence
from itertools import zip_longest
from typing import Any, Self

from qdrant_client import AsyncQdrantClient, QdrantClient, models

from qdrant_stream2llm._connection import Connection
from qdrant_stream2llm._embed import Embed, is_sparse, plain_vector
from qdrant_stream2llm._emission import Early
from qdrant_stream2llm._ladder import Ladder
from qdrant_stream2llm._payload import PayloadKeys, PayloadReader
from qdrant_stream2llm._retry import Retry
from qdrant_stream2llm._stages import AnyStage, Stage
from qdrant_stream2llm._vector_stores import read_store
from stream2llm_rag import Append, Document, Update

__all__ = ["QdrantSource"]


class QdrantSource:
    """Retrieves from a Qdrant collection, in stages.

    What a stage finds is passed on while the next one runs, as far as ``early`` says; the last
    event always leads to the ranking of the last stage. How long each stage takes is measured, and
    one that ends too shortly before the final ranking to be worth it is skipped, which is logged.

    Args:
        client: A client, sync or async, over REST or gRPC; addresses, credentials and time limits
            are the client's own. A sync one is called in threads, which lets any number of event
            loops use it. An async one belongs to the loop that first uses it. One that runs in this
            process (``":memory:"`` or a path) compares with every vector whatever a stage says, so
            only the last of several like searches is kept then, with a warning; for an embedded
            index use ``EdgeSource``.
        collection: Name of the collection.
        embed: Turns a list of texts into vectors, sync or async; or an embedding object of
            LangChain or LlamaIndex.
        stages: What to do one after the other: ``Stage``, ``Hybrid`` and, behind them, ``Rerank``.
        using: Name of the vector, if the collection names its vectors.
        query_filter: A ``qdrant_client.models.Filter`` for every search that has none of its own.
        payload_keys: Where payloads hold text, id and metadata.
        early: ``"settled"`` passes on, before the final ranking is there, the first documents on
            whose place two rankings in a row agree, which are rarely taken back. ``"all"`` passes
            every ranking on; choose it for one search before a ``Rerank``, where nothing can be
            settled early.
        document_prefill_s: Seconds that the engine takes to prefill one document, below which
            waiting for the final ranking is cheaper than another stage; 0 never skips. The default
            is 500 tokens of an 8B model on two H100; ``stream2llm profile`` measures your machine.
        timeout_s: Bound of each search, in whole seconds as Qdrant takes them; None leaves it to
            the client.
        retry: How often to try when the server cannot be reached or is overloaded.

    Raises:
        ValueError: The stages cannot follow each other.
    """

    def __init__(
        self,
        client: AsyncQdrantClient | QdrantClient,
        collection: str,
        embed: Embed,
        stages: Sequence[AnyStage] = (Stage(),),
        *,
        using: str | None = None,
        query_filter: models.Filter | None = None,
        payload_keys: PayloadReader | None = None,
        early: Early = "settled",
        document_prefill_s: float = 0.01,
        timeout_s: int | None = None,
        retry: Retry | None = None,
    ) -> None:
        self._connection = Connection(client, retry or Retry(), timeout_s)
        self._collection = collection
        self._using = using
        self._filter = query_filter
        self._reader = payload_keys or PayloadKeys()
        self._ladder = Ladder(
            repr(self),
            _stages_for(stages, in_process=self._connection.in_process),
            embed,
            self._search,
            early=early,
            document_prefill_s=document_prefill_s,
        )

    @classmethod
    def from_vector_store(
        cls,
        store: Any,
        embed: Embed | None = None,
        stages: Sequence[AnyStage] | None = None,
        *,
        limit: int = 5,
        **options: Any,
    ) -> Self:
        """Makes a source of what an existing ``QdrantVectorStore`` searches, with its client.

        Args:
            store: The store of ``langchain_qdrant`` or of LlamaIndex.
            embed: As the constructor takes it. A LangChain store has its own; for a LlamaIndex one
                pass the index's ``embed_model``.
            stages: As the constructor takes them; by default what the store does: one search, or
                a ``Hybrid`` one if the store is hybrid.
            limit: How many documents the default stages find.
            **options: As the constructor takes them.

        Raises:
            TypeError: ``store`` is neither.
            ValueError: There is no embedding.
        """
        parts = read_store(store, embed, limit)
        options = {"using": parts.using, "payload_keys": parts.payload_keys, **options}
        return cls(parts.client, parts.collection, parts.embed, stages or parts.stages, **options)

    def stream(self, query: str) -> AsyncGenerator[Append | Update, None]:
        """Retrieves for ``query``.

        Raises:
            QdrantSourceError: A failure of a known kind, see ``qdrant_stream2llm.errors``.
            ContextSourceError: Any other failure of embedding, searching or reranking, or a point
                has no text.
        """
        return self._ladder.stream(query)

    async def _search(self, stage: Stage, vector: Any) -> tuple[Document, ...]:
        collection = stage.collection or self._collection
        points = await self._connection.search(
            f"searching {collection!r}",
            collection,
            query=_query(vector),
            using=stage.using or self._using,
            query_filter=stage.query_filter or self._filter,
            search_params=None if self._connection.in_process else _search_params(stage),
            limit=stage.limit,
            score_threshold=stage.score_threshold,
            with_payload=True,
        )
        # Points of different collections may share an id without being the same.
        prefix = "" if collection == self._collection else f"{collection}/"
        return tuple(
            self._reader.document(f"{prefix}{point.id}", point.payload, point.score)
            for point in points
        )

    def __repr__(self) -> str:
        return f"QdrantSource({self._collection!r})"


def _stages_for(stages: Sequence[AnyStage], *, in_process: bool) -> tuple[AnyStage, ...]:
    if not in_process:
        return tuple(stages)
    kept = [
        stage
        for stage, following in zip_longest(stages, stages[1:])
        if not (
            isinstance(stage, Stage)
            and isinstance(following, Stage)
            and stage.searches_like(following)
        )
    ]
    if len(kept) < len(stages):
        warnings.warn(
            "qdrant_client in this process searches exactly whatever the stage, so all searches"
            " with one vector cost and return the same: only the last one is used; EdgeSource has"
            " real stages",
            stacklevel=3,
        )
    return tuple(kept)


def _query(vector: Any) -> Any:
    if is_sparse(vector):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return plain_vector(vector)


def _search_params(stage: Stage) -> models.SearchParams:
    quantization = models.QuantizationSearchParams(
        rescore=stage.rescore, oversampling=stage.oversampling
    )
    return models.SearchParams(
        hnsw_ef=stage.hnsw_ef,
        exact=stage.exact,
        quantization=quantization if stage.quantized else None,
    )
