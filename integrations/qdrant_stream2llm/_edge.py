"""An embedded Qdrant index (Qdrant Edge, the Rust engine in this process) as a context source."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import qdrant_edge as edge

from qdrant_stream2llm._edge_index import (
    BM25,
    bm25_query,
    create_index,
    edge_query,
    edge_request,
    index_points,
    open_index,
)
from qdrant_stream2llm._embed import SyncEmbed, document_vectors
from qdrant_stream2llm._emission import Early
from qdrant_stream2llm._failures import search_errors
from qdrant_stream2llm._ladder import Ladder
from qdrant_stream2llm._payload import PayloadKeys, PayloadReader
from qdrant_stream2llm._stages import AnyStage, Hybrid, Stage
from stream2llm_rag import Append, Document, Update
from stream2llm_rag.sources import run_in_thread, typed_errors

__all__ = ["EdgeSource"]

_BATCH = 64


class EdgeSource:
    """Retrieves from an embedded index in a directory, which one process at a time can open.

    ``create`` makes one; the constructor opens one that is there. Searching works at once; call
    ``optimize`` after adding many documents to have the search graph built.

    Args:
        path: The index's directory.
        embed: Turns a list of texts into vectors; or an embedding object of LangChain or
            LlamaIndex.
        stages: As ``QdrantSource`` takes them; one search is right for an index in memory. In an
            index with keyword vectors ``Stage(using=BM25)`` searches these.
        query_filter: A ``qdrant_edge.Filter`` for every search that has none of its own.
        payload_keys: Where payloads hold text, id and metadata.
        early: As ``QdrantSource`` takes it.
        document_prefill_s: As ``QdrantSource`` takes it.

    Raises:
        IndexNotFoundError: The directory holds no index.
        IndexInUseError: Another process has it open.
        ContextSourceError: The index cannot be read.
        ValueError: The stages cannot follow each other, or name a collection.
    """

    def __init__(
        self,
        path: str | Path,
        embed: SyncEmbed,
        stages: Sequence[AnyStage] = (Stage(),),
        *,
        query_filter: edge.Filter | None = None,
        payload_keys: PayloadReader | None = None,
        early: Early = "settled",
        document_prefill_s: float = 0.01,
    ) -> None:
        self._path = Path(path)
        self._embed = embed
        self._filter = query_filter
        self._reader = payload_keys or PayloadKeys()
        self._ladder = Ladder(
            repr(self),
            tuple(_own_stage(stage) for stage in stages),
            embed,
            self._search,
            early=early,
            document_prefill_s=document_prefill_s,
        )
        self._shard, self._keywords = open_index(self._path)

    @classmethod
    def create(
        cls,
        path: str | Path,
        documents: Iterable[Document],
        embed: SyncEmbed,
        stages: Sequence[AnyStage] = (Stage(),),
        *,
        quantized: bool = False,
        keywords: bool = False,
        **options: Any,
    ) -> Self:
        """Makes an index of ``documents`` and opens it.

        Args:
            path: Directory of the new index.
            documents: At least one document: the first one's vector tells the dimension.
            embed: As the constructor takes it.
            stages: As the constructor takes them.
            quantized: Keep 8-bit vectors beside the original ones, for stages that rescore.
            keywords: Keep keyword vectors (BM25) beside the dense ones, for hybrid search.
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
            (vector,) = document_vectors(embed, [documents[0].text])
            create_index(Path(path), len(vector), quantized=quantized, keywords=keywords)
        source = cls(path, embed, stages, **options)
        source.upsert(documents)
        source.optimize()
        return source

    def upsert(self, documents: Iterable[Document]) -> None:
        """Adds documents; those whose ids are there are replaced. Written to disk when it returns.

        Raises:
            VectorMismatchError: The index was made with another embedding.
            ContextSourceError: Embedding or writing failed.
        """
        documents = list(documents)
        with search_errors(f"adding documents to {self!r}"):
            for start in range(0, len(documents), _BATCH):
                batch = documents[start : start + _BATCH]
                vectors = document_vectors(self._embed, [document.text for document in batch])
                points = index_points(batch, vectors, keywords=self._keywords)
                self._shard.update(edge.UpdateOperation.upsert_points(points))
            self._shard.flush()

    def optimize(self) -> None:
        """Builds the search graph for what was added since the last time; blocks until done."""
        with typed_errors(f"optimizing {self!r}"):
            self._shard.optimize()

    def close(self) -> None:
        """Releases the directory."""
        self._shard.close()

    def stream(self, query: str) -> AsyncGenerator[Append | Update, None]:
        """Retrieves for ``query``, embedding and searching in threads.

        Raises:
            VectorMismatchError: The index was made with another embedding, or has no such vector.
            ContextSourceError: Embedding, searching or reranking failed, or a point has no text.
        """
        return self._ladder.stream(query)

    async def _search(self, stage: Stage, vector: Any) -> tuple[Document, ...]:
        with search_errors(f"searching {self!r}"):
            request = edge_request(stage, edge_query(vector, stage.using), self._filter)
            points = await run_in_thread(lambda: self._shard.query(request))
        return tuple(
            self._reader.document(str(point.id), point.payload, point.score) for point in points
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


def _own_stage(stage: AnyStage) -> AnyStage:
    """Gives keyword searches their embedding and refuses what needs a server."""
    if isinstance(stage, Hybrid):
        searches = tuple(_own_stage(search) for search in stage.searches)
        return stage.model_copy(update={"searches": searches})
    if not isinstance(stage, Stage):
        return stage
    if stage.collection is not None:
        msg = "an EdgeSource has one collection; merge() several sources to search several indexes"
        raise ValueError(msg)
    if stage.using == BM25 and stage.embed is None:
        return stage.model_copy(update={"embed": bm25_query})
    return stage
