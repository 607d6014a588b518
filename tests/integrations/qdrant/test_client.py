"""The real clients in this process, sync and async."""

import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from qdrant_stream2llm import (
    CollectionNotFoundError,
    Hybrid,
    PayloadKeys,
    QdrantSource,
    Rerank,
    Stage,
    VectorMismatchError,
    document_payload,
    point_id,
)
from stream2llm_rag import ContextSourceError, Document
from tests.integrations.qdrant.embedding import SIZE, embed, embed_async, embed_sparse
from tests.rag.sources.scripted import collect, final

DOCUMENTS = [
    Document(id="apple", text="apple trees grow in cold orchards", metadata={"page": 1}),
    Document(id="banana", text="banana plants grow in warm valleys", metadata={"page": 2}),
]
OTHERS = [Document(id="cherry", text="cherry trees flower in warm spring", metadata={"page": 3})]


def fill(client: QdrantClient, collection: str, documents: Sequence[Document]) -> None:
    """Makes a collection with an unnamed dense and a sparse vector."""
    vectors = models.VectorParams(size=SIZE, distance=models.Distance.COSINE)
    sparse = {"words": models.SparseVectorParams()}
    client.create_collection(collection, vectors_config=vectors, sparse_vectors_config=sparse)
    texts = [document.text for document in documents]
    points = [
        models.PointStruct(
            id=str(point_id(document)),
            vector={"": row.tolist(), "words": words},
            payload=document_payload(document),
        )
        for document, row, words in zip(documents, embed(texts), embed_sparse(texts), strict=True)
    ]
    client.upsert(collection, points)


@pytest.fixture
def sync_client() -> Iterator[QdrantClient]:
    local = QdrantClient(":memory:")
    fill(local, "fruit", DOCUMENTS)
    fill(local, "more", OTHERS)
    yield local
    local.close()


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


async def ids(source: QdrantSource, query: str) -> list[str]:
    return [document.id for document in final([event async for event in source.stream(query)])]


def embed_later(texts: Sequence[str]) -> Awaitable[list[list[float]]]:
    return embed_async(texts)


@pytest.mark.parametrize("function", [embed, embed_async, embed_later])
async def test_documents_come_back_ranked(client: AsyncQdrantClient, function: Any) -> None:
    source = QdrantSource(client, "fruit", function)
    (event,) = [event async for event in source.stream("warm banana valleys")]
    best = event.documents[0]
    assert best.model_copy(update={"score": None}) == DOCUMENTS[1]
    assert len(event.documents) == 2


async def test_a_sync_client(sync_client: QdrantClient) -> None:
    source = QdrantSource(sync_client, "fruit", embed)
    assert (await ids(source, "warm banana valleys"))[0] == "banana"


async def test_a_client_on_a_directory(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path))
    fill(client, "fruit", DOCUMENTS)
    stages = [Stage(hnsw_ef=16), Stage(limit=1)]
    with pytest.warns(UserWarning, match="only the last one is used"):
        source = QdrantSource(client, "fruit", embed, stages)
    assert await ids(source, "banana") == ["banana"]
    client.close()


async def test_like_searches_in_this_process_collapse_with_a_warning(
    client: AsyncQdrantClient,
) -> None:
    stages = [Stage(hnsw_ef=16, rescore=False), Stage(limit=1, exact=True)]
    with pytest.warns(UserWarning, match="only the last one is used"):
        source = QdrantSource(client, "fruit", embed, stages, early="all")
    (event,) = [event async for event in source.stream("apple orchards")]
    assert [document.id for document in event.documents] == ["apple"]


async def test_what_differs_in_this_process_does_not_collapse(sync_client: QdrantClient) -> None:
    stages = (
        Stage(using="words", embed=embed_sparse),
        Stage(limit=2),
        Rerank(reranker=lambda query, ranked: ranked[::-1]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = QdrantSource(sync_client, "fruit", embed, stages, early="all")
        await ids(QdrantSource(sync_client, "fruit", embed, [Stage(exact=True)]), "apple")
    events = [event async for event in source.stream("apple trees")]
    assert [[document.id for document in event.documents] for event in events] == [
        ["apple"],
        ["apple", "banana"],
        ["banana", "apple"],
    ]


async def test_dense_and_sparse_vectors_are_fused(sync_client: QdrantClient) -> None:
    hybrid = Hybrid(searches=(Stage(limit=2), Stage(using="words", embed=embed_sparse)), limit=2)
    source = QdrantSource(sync_client, "fruit", embed, [hybrid], early="all")
    assert await ids(source, "warm orchards banana") == ["banana", "apple"]


async def test_several_collections_are_fused(sync_client: QdrantClient) -> None:
    hybrid = Hybrid(searches=(Stage(), Stage(collection="more")), limit=3)
    source = QdrantSource(sync_client, "fruit", embed, [hybrid])
    assert sorted(await ids(source, "cherry trees")) == ["apple", "banana", "cherry"]


async def test_points_of_several_collections_are_told_apart(sync_client: QdrantClient) -> None:
    for collection in ("fruit", "more"):
        text = f"durian smells in {collection}"
        point = models.PointStruct(id=7, vector=embed([text])[0].tolist(), payload={"text": text})
        sync_client.upsert(collection, [point])
    hybrid = Hybrid(searches=(Stage(limit=1), Stage(limit=1, collection="more")), limit=2)
    source = QdrantSource(sync_client, "fruit", embed, [hybrid])
    assert sorted(await ids(source, "durian smells")) == ["7", "more/7"]


async def test_a_score_threshold(sync_client: QdrantClient) -> None:
    source = QdrantSource(sync_client, "fruit", embed, [Stage(score_threshold=0.7)])
    assert await ids(source, "warm banana valleys plants") == ["banana"]
    assert await ids(source, "submarine") == []


async def test_the_loop_stays_free_while_the_client_computes(client: AsyncQdrantClient) -> None:
    query_points = client.query_points

    async def slow(*args: Any, **options: Any) -> Any:
        time.sleep(0.3)  # noqa: ASYNC251 - what the in-process client does with a big collection
        return await query_points(*args, **options)

    client.query_points = slow  # type: ignore[method-assign]
    task = asyncio.create_task(collect(QdrantSource(client, "fruit", embed)))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 5


async def test_a_filter(client: AsyncQdrantClient) -> None:
    page = models.FieldCondition(key="metadata.page", match=models.MatchValue(value=2))
    source = QdrantSource(client, "fruit", embed, query_filter=models.Filter(must=[page]))
    assert await ids(source, "apple") == ["banana"]


async def test_foreign_payloads(client: AsyncQdrantClient) -> None:
    vector = embed(["durian smells"])[0].tolist()
    payload = {"page_content": "durian smells", "source": "d.txt"}
    await client.upsert("fruit", [models.PointStruct(id=7, vector=vector, payload=payload)])
    keys = PayloadKeys(text="page_content")
    source = QdrantSource(client, "fruit", embed, [Stage(limit=1)], payload_keys=keys)
    (event,) = [event async for event in source.stream("durian smells")]
    (document,) = event.documents
    assert (document.id, document.text, document.metadata) == (
        "7",
        "durian smells",
        {"source": "d.txt"},
    )
    with pytest.raises(ContextSourceError, match=r"no text under 'text'.*payload_keys"):
        await ids(QdrantSource(client, "fruit", embed), "durian smells")


@pytest.mark.parametrize(
    ("collection", "options", "error"),
    [
        ("missing", {}, CollectionNotFoundError),
        ("fruit", {"using": "title"}, VectorMismatchError),
        ("fruit", {"using": "words"}, VectorMismatchError),
    ],
)
async def test_wrong_names_are_typed(
    sync_client: QdrantClient, collection: str, options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"searching '{collection}'"):
        await ids(QdrantSource(sync_client, collection, embed, **options), "apple")


@pytest.mark.parametrize("wrong", [lambda texts: [[1.0, 2.0]], embed_sparse])
async def test_wrong_vectors_are_typed(
    sync_client: QdrantClient, wrong: Callable[[Sequence[str]], Any]
) -> None:
    with pytest.raises(VectorMismatchError, match="the embedding that it was filled with"):
        await ids(QdrantSource(sync_client, "fruit", wrong), "apple")


def broken(texts: Sequence[str]) -> list[list[float]]:
    raise ZeroDivisionError(texts[0])


async def test_a_failing_embedding_is_typed(client: AsyncQdrantClient) -> None:
    with pytest.raises(ContextSourceError, match="embedding the query failed: ZeroDivision"):
        await ids(QdrantSource(client, "fruit", broken), "apple")
    with pytest.raises(ValueError, match="at least one stage"):
        QdrantSource(client, "fruit", embed, [])
