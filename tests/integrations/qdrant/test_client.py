import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient, models

from qdrant_stream2llm import PayloadKeys, QdrantSource, Stage, document_payload, point_id
from stream2llm_rag import Append, ContextSource, ContextSourceError, Document, Update
from tests.integrations.qdrant.embedding import SIZE, embed, embed_async

DOCUMENTS = [
    Document(id="apple", text="apple trees grow in cold orchards", metadata={"page": 1}),
    Document(id="banana", text="banana plants grow in warm valleys", metadata={"page": 2}),
]


@pytest.fixture
async def client() -> AsyncIterator[AsyncQdrantClient]:
    local = AsyncQdrantClient(":memory:")
    vectors = models.VectorParams(size=SIZE, distance=models.Distance.COSINE)
    await local.create_collection("fruit", vectors_config=vectors)
    rows = embed([document.text for document in DOCUMENTS])
    points = [
        models.PointStruct(
            id=str(point_id(document)), vector=row.tolist(), payload=document_payload(document)
        )
        for document, row in zip(DOCUMENTS, rows, strict=True)
    ]
    await local.upsert("fruit", points)
    yield local
    await local.close()


async def collect(source: ContextSource, query: str) -> list[Append | Update]:
    return [event async for event in source.stream(query)]


def embed_later(texts: Sequence[str]) -> Awaitable[list[list[float]]]:
    return embed_async(texts)


@pytest.mark.parametrize("function", [embed, embed_async, embed_later])
async def test_documents_come_back_ranked(client: AsyncQdrantClient, function: Any) -> None:
    (event,) = await collect(QdrantSource(client, "fruit", function), "warm banana valleys")
    best = event.documents[0]
    assert best.model_copy(update={"score": None}) == DOCUMENTS[1]
    assert len(event.documents) == 2


async def test_stages_in_this_process_collapse_with_a_warning(client: AsyncQdrantClient) -> None:
    stages = [Stage(hnsw_ef=16, rescore=False), Stage(limit=1, exact=True)]
    with pytest.warns(UserWarning, match="only the last one is used"):
        source = QdrantSource(client, "fruit", embed, stages)
    (event,) = await collect(source, "apple orchards")
    assert [document.id for document in event.documents] == ["apple"]


async def test_one_stage_does_not_warn(client: AsyncQdrantClient) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await collect(QdrantSource(client, "fruit", embed, [Stage(exact=True)]), "apple")


async def test_the_loop_stays_free_while_the_client_computes(client: AsyncQdrantClient) -> None:
    query_points = client.query_points

    async def slow(*args: Any, **options: Any) -> Any:
        time.sleep(0.3)  # noqa: ASYNC251 - what the in-process client does with a big collection
        return await query_points(*args, **options)

    client.query_points = slow  # type: ignore[method-assign]
    task = asyncio.create_task(collect(QdrantSource(client, "fruit", embed), "apple"))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 5


async def test_a_filter(client: AsyncQdrantClient) -> None:
    page = models.FieldCondition(key="metadata.page", match=models.MatchValue(value=2))
    source = QdrantSource(client, "fruit", embed, query_filter=models.Filter(must=[page]))
    (event,) = await collect(source, "apple")
    assert [document.id for document in event.documents] == ["banana"]


async def test_foreign_payloads(client: AsyncQdrantClient) -> None:
    vector = embed(["durian smells"])[0].tolist()
    payload = {"page_content": "durian smells", "source": "d.txt"}
    await client.upsert("fruit", [models.PointStruct(id=7, vector=vector, payload=payload)])
    source = QdrantSource(
        client,
        "fruit",
        embed,
        [Stage(limit=1)],
        payload_keys=PayloadKeys(text="page_content"),
    )
    (event,) = await collect(source, "durian smells")
    (document,) = event.documents
    assert (document.id, document.text, document.metadata) == (
        "7",
        "durian smells",
        {"source": "d.txt"},
    )


async def test_errors_are_typed(client: AsyncQdrantClient) -> None:
    with pytest.raises(ContextSourceError, match="missing"):
        await collect(QdrantSource(client, "missing", embed), "apple")
    with pytest.raises(ValueError, match="at least one stage"):
        QdrantSource(client, "fruit", embed, [])
