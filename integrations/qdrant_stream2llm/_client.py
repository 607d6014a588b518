"""A Qdrant collection as a context source."""

import asyncio
import warnings
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from qdrant_client import AsyncQdrantClient, models

from qdrant_stream2llm._embed import Embed, embed_query
from qdrant_stream2llm._payload import PayloadKeys
from qdrant_stream2llm._stages import Stage, run_stages
from stream2llm_rag import Append, Document, Update
from stream2llm_rag.sources import typed_errors

__all__ = ["QdrantSource"]


class QdrantSource:
    """Retrieves from a Qdrant collection, in stages.

    Args:
        client: An ``AsyncQdrantClient``. One that runs in this process (``":memory:"`` or a path)
            compares with every vector whatever a stage says, so only the last stage is kept then,
            with a warning; for an embedded index use ``EdgeSource``.
        collection: Name of the collection.
        embed: Turns a list of texts into vectors, sync or async.
        stages: Queries to run one after the other, each on the same text.
        using: Name of the vector, if the collection names its vectors.
        query_filter: A ``qdrant_client.models.Filter`` for every stage.
        payload_keys: Where payloads hold text, id and metadata.
    """

    def __init__(
        self,
        client: AsyncQdrantClient,
        collection: str,
        embed: Embed,
        stages: Sequence[Stage] = (Stage(),),
        *,
        using: str | None = None,
        query_filter: models.Filter | None = None,
        payload_keys: PayloadKeys | None = None,
    ) -> None:
        if not stages:
            msg = "QdrantSource needs at least one stage"
            raise ValueError(msg)
        self._client = client
        self._collection = collection
        self._embed = embed
        self._local = _runs_in_this_process(client)
        self._stages = _stages_for(stages, local=self._local)
        self._using = using
        self._filter = query_filter
        self._keys = payload_keys or PayloadKeys()

    async def stream(self, query: str) -> AsyncGenerator[Append | Update, None]:
        """Retrieves for ``query``.

        Raises:
            ContextSourceError: Embedding or searching failed, or a point has no text.
        """
        with typed_errors(f"embedding the query for {self!r}"):
            vector = await embed_query(self._embed, query)

        async def query_stage(stage: Stage) -> tuple[Document, ...]:
            return await self._query(vector, stage)

        async for event in run_stages(repr(self), self._stages, query_stage):
            yield event

    async def _query(self, vector: list[float], stage: Stage) -> tuple[Document, ...]:
        request = self._client.query_points(
            self._collection,
            query=vector,
            using=self._using,
            query_filter=self._filter,
            search_params=None if self._local else _search_params(stage),
            limit=stage.limit,
            score_threshold=stage.score_threshold,
            with_payload=True,
        )
        # The in-process client computes in its coroutine without ever giving the loop back.
        response = await (asyncio.to_thread(asyncio.run, request) if self._local else request)
        return tuple(
            self._keys.document(str(point.id), point.payload, point.score)
            for point in response.points
        )

    def __repr__(self) -> str:
        return f"QdrantSource({self._collection!r})"


def _runs_in_this_process(client: AsyncQdrantClient) -> bool:
    options: dict[str, Any] = client.init_options
    return options["location"] == ":memory:" or options["path"] is not None


def _stages_for(stages: Sequence[Stage], *, local: bool) -> tuple[Stage, ...]:
    if not local or len(stages) == 1:
        return tuple(stages)
    warnings.warn(
        "qdrant_client in this process searches exactly whatever the stage, so all stages cost and"
        " return the same: only the last one is used; EdgeSource has real stages",
        stacklevel=3,
    )
    return (stages[-1],)


def _search_params(stage: Stage) -> models.SearchParams:
    quantization = models.QuantizationSearchParams(
        rescore=stage.rescore, oversampling=stage.oversampling
    )
    return models.SearchParams(
        hnsw_ef=stage.hnsw_ef,
        exact=stage.exact,
        quantization=quantization if stage.quantized else None,
    )
