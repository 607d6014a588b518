"""An embedded Qdrant index (Qdrant Edge, the Rust engine in this process) as a context source."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import qdrant_edge as edge

from qdrant_stream2llm._embed import SyncEmbed, as_vector, embed_query
from qdrant_stream2llm._payload import PayloadKeys, document_payload, point_id
from qdrant_stream2llm._stages import Stage, run_stages
from stream2llm_rag import Append, Document, Update
from stream2llm_rag.sources import typed_errors

__all__ = ["EdgeSource"]

_BATCH = 64


class EdgeSource:
    """Retrieves from an embedded index in a directory, which one process at a time can open.

    ``create`` makes one; the constructor opens one that is there. Searching works at once; call
    ``optimize`` after adding many documents to have the search graph built.

    Args:
        path: The index's directory.
        embed: Turns a list of texts into vectors.
        stages: Queries to run one after the other; one is right for an index in memory.
        query_filter: A ``qdrant_edge.Filter`` for every stage.
        payload_keys: Where payloads hold text, id and metadata.

    Raises:
        ContextSourceError: The directory holds no index, or another process has it open.
    """

    def __init__(
        self,
        path: str | Path,
        embed: SyncEmbed,
        stages: Sequence[Stage] = (Stage(),),
        *,
        query_filter: edge.Filter | None = None,
        payload_keys: PayloadKeys | None = None,
    ) -> None:
        if not stages:
            msg = "EdgeSource needs at least one stage"
            raise ValueError(msg)
        self._path = Path(path)
        self._embed = embed
        self._stages = tuple(stages)
        self._filter = query_filter
        self._keys = payload_keys or PayloadKeys()
        with typed_errors(f"opening the index in {self._path}"):
            self._shard = edge.EdgeShard.load(str(path))

    @classmethod
    def create(
        cls,
        path: str | Path,
        documents: Iterable[Document],
        embed: SyncEmbed,
        stages: Sequence[Stage] = (Stage(),),
        *,
        quantized: bool = False,
        **options: Any,
    ) -> Self:
        """Makes an index of ``documents`` and opens it.

        Args:
            path: Directory of the new index.
            documents: At least one document: the first one's vector tells the dimension.
            embed: Turns a list of texts into vectors.
            stages: As the constructor takes them.
            quantized: Keep 8-bit vectors beside the original ones, for stages that rescore.
            **options: As the constructor takes them.

        Raises:
            ContextSourceError: There is nothing to index, the directory already holds an index, or
                embedding failed.
        """
        documents = list(documents)
        with typed_errors(f"creating the index in {path}"):
            if not documents:
                msg = "there are no documents to index"
                raise ValueError(msg)
            (vector,) = embed([documents[0].text])
            Path(path).mkdir(parents=True, exist_ok=True)
            edge.EdgeShard.create(str(path), _config(len(vector), quantized=quantized)).close()
        source = cls(path, embed, stages, **options)
        source.upsert(documents)
        source.optimize()
        return source

    def upsert(self, documents: Iterable[Document]) -> None:
        """Adds documents; those whose ids are there are replaced. Written to disk when it returns.

        Raises:
            ContextSourceError: Embedding or writing failed.
        """
        documents = list(documents)
        with typed_errors(f"adding documents to {self!r}"):
            for start in range(0, len(documents), _BATCH):
                batch = documents[start : start + _BATCH]
                vectors = self._embed([document.text for document in batch])
                points = [
                    edge.Point(point_id(document), as_vector(vector), document_payload(document))
                    for document, vector in zip(batch, vectors, strict=True)
                ]
                self._shard.update(edge.UpdateOperation.upsert_points(points))
            self._shard.flush()

    def optimize(self) -> None:
        """Builds the search graph for what was added since the last time; blocks until done."""
        with typed_errors(f"optimizing {self!r}"):
            self._shard.optimize()

    def close(self) -> None:
        """Releases the directory."""
        self._shard.close()

    async def stream(self, query: str) -> AsyncGenerator[Append | Update, None]:
        """Retrieves for ``query``, embedding and searching in threads.

        Raises:
            ContextSourceError: Embedding or searching failed, or a point has no text.
        """
        with typed_errors(f"embedding the query for {self!r}"):
            vector = await embed_query(self._embed, query)

        async def query_stage(stage: Stage) -> tuple[Document, ...]:
            return await asyncio.to_thread(self._query, vector, stage)

        async for event in run_stages(repr(self), self._stages, query_stage):
            yield event

    def _query(self, vector: list[float], stage: Stage) -> tuple[Document, ...]:
        request = edge.QueryRequest(
            limit=stage.limit,
            query=edge.Query.Nearest(vector),
            params=_search_params(stage),
            filter=self._filter,
            score_threshold=stage.score_threshold,
            with_payload=True,
        )
        return tuple(
            self._keys.document(str(point.id), point.payload, point.score)
            for point in self._shard.query(request)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EdgeSource({str(self._path)!r})"


def _config(size: int, *, quantized: bool) -> edge.EdgeConfig:
    vectors = edge.EdgeVectorParams(size=size, distance=edge.Distance.Cosine)
    if not quantized:
        return edge.EdgeConfig(vectors=vectors)
    # Only indexed segments are quantized, and a small one is not indexed by default.
    return edge.EdgeConfig(
        vectors=vectors,
        quantization_config=edge.ScalarQuantizationConfig(
            type=edge.ScalarType.Int8, always_ram=True
        ),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1),
        hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=1),
    )


def _search_params(stage: Stage) -> edge.SearchParams:
    quantization = edge.QuantizationSearchParams(
        rescore=stage.rescore, oversampling=stage.oversampling
    )
    return edge.SearchParams(
        hnsw_ef=stage.hnsw_ef,
        exact=stage.exact,
        quantization=quantization if stage.quantized else None,
    )
