"""What is sent to a server and what its refusals become, below the real clients' REST transport."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from qdrant_stream2llm import (
    AccessDeniedError,
    CollectionNotFoundError,
    QdrantSource,
    QdrantSourceError,
    Rerank,
    Retry,
    SearchTimeoutError,
    ServerUnavailableError,
    Stage,
    VectorMismatchError,
)
from stream2llm_rag import Append, ContextSourceError, ContextTimeoutError, Document, Update
from tests.integrations.qdrant.embedding import embed
from tests.integrations.qdrant.server import Answer, Server, refusal
from tests.rag.sources.scripted import collect

A, B, C = (Document(id=name, text=f"text {name}") for name in "abc")
QUICKLY = Retry(first_wait_s=0.0)


@asynccontextmanager
async def connected(server: Server, **options: Any) -> AsyncIterator[AsyncQdrantClient]:
    options = {"url": "https://qdrant", **options}
    client = AsyncQdrantClient(**options, transport=server.transport(), check_compatibility=False)
    yield client
    await client.close()


def ids(events: list[Append | Update]) -> list[tuple[str, list[str]]]:
    return [(event.kind, [document.id for document in event.documents]) for event in events]


STAGES = [
    Stage(limit=2, hnsw_ef=16, rescore=False),
    Stage(limit=2, hnsw_ef=64, rescore=True, oversampling=2.0),
    Stage(limit=2, exact=True, score_threshold=0.1),
]


async def test_every_stage_is_sent_as_it_says() -> None:
    server = Server((A, B), (B, C), (B, C))
    async with connected(server) as client:
        source = QdrantSource(client, "fruit", embed, STAGES, using="dense", early="all")
        events = await collect(source)
    assert ids(events) == [("append", ["a", "b"]), ("update", ["b", "c"])]
    assert events[0].documents[0].score == 1.0
    quick, better, exact = (search["params"] for search in server.searches)
    assert quick == {"hnsw_ef": 16, "exact": False, "quantization": {"rescore": False}} | quick
    assert better["quantization"]["oversampling"] == 2.0
    assert exact["exact"] is True
    assert exact.get("quantization") is None
    assert [search["using"] for search in server.searches] == ["dense"] * 3
    assert server.searches[2]["score_threshold"] == 0.1


async def test_the_settled_start_comes_before_the_reranker_is_done() -> None:
    server = Server((A, B, C), (A, C, B))
    async with connected(server) as client:
        rerank = Rerank(reranker=lambda query, ranked: [ranked[0], ranked[2]])
        source = QdrantSource(client, "fruit", embed, [*STAGES[:2], rerank])
        assert ids(await collect(source)) == [("append", ["a"]), ("append", ["b"])]


async def test_filters_names_and_collections_of_a_stage() -> None:
    ripe, raw = (
        models.Filter(
            must=[models.FieldCondition(key="state", match=models.MatchValue(value=value))]
        )
        for value in ("ripe", "raw")
    )
    server = Server((A,), (B,))
    stages = [Stage(), Stage(using="title", query_filter=raw, collection="more")]
    async with connected(server) as client:
        source = QdrantSource(
            client, "fruit", embed, stages, using="body", query_filter=ripe, early="all"
        )
        await collect(source)
    first, second = server.searches
    assert (first["using"], second["using"]) == ("body", "title")
    assert first["filter"]["must"][0]["match"] == {"value": "ripe"}
    assert second["filter"]["must"][0]["match"] == {"value": "raw"}
    assert [request.url.path.split("/")[2] for request in server.requests] == ["fruit", "more"]


async def test_the_api_key_and_the_time_limit_are_sent() -> None:
    server = Server((A,))
    async with connected(server, api_key="secret") as client:
        await collect(QdrantSource(client, "fruit", embed, timeout_s=7))
    (request,) = server.requests
    assert request.headers["api-key"] == "secret"
    assert request.url.params["timeout"] == "7"
    assert request.extensions["timeout"]["read"] == 7


async def test_a_sync_client_is_taken_as_well() -> None:
    server = Server((A, B))
    client = QdrantClient(
        url="https://qdrant", transport=server.transport(), check_compatibility=False
    )
    assert ids(await collect(QdrantSource(client, "fruit", embed))) == [("append", ["a", "b"])]
    client.close()


@pytest.mark.parametrize(
    "failure",
    [
        refusal(503, "Service temporarily unavailable"),
        refusal(429, "Rate limiting exceeded", **{"Retry-After": "0"}),
        httpx.ConnectError("All connection attempts failed"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
    ],
)
async def test_a_search_that_was_not_taken_is_tried_again(failure: Answer) -> None:
    server = Server(failure, failure, (A,))
    async with connected(server) as client:
        source = QdrantSource(client, "fruit", embed, retry=QUICKLY)
        assert ids(await collect(source)) == [("append", ["a"])]
    assert len(server.requests) == 3


async def test_the_pause_that_a_server_asks_for_is_made(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(refusal(429, "Rate limiting exceeded", **{"Retry-After": "1"}), (A,))
    async with connected(server) as client:
        with caplog.at_level(logging.INFO, logger="qdrant_stream2llm"):
            await collect(QdrantSource(client, "fruit", embed, retry=QUICKLY))
    assert "again in 1.0 s: Rate limiting exceeded" in caplog.text


@pytest.mark.parametrize(
    ("answer", "error", "advice"),
    [
        (
            refusal(404, "Not found: Collection `fruit` doesn't exist!"),
            CollectionNotFoundError,
            r"create it.*doesn't exist",
        ),
        (
            refusal(400, "Wrong input: Vector dimension error: expected dim: 768, got 64"),
            VectorMismatchError,
            r"filled with.*expected dim: 768, got 64",
        ),
        (
            refusal(400, "Wrong input: Not existing vector name error: body"),
            VectorMismatchError,
            r"using=.*Not existing vector name error: body",
        ),
        (
            refusal(
                400,
                "Wrong input: Collection requires specified vector name in the request,"
                " available names: title, body",
            ),
            VectorMismatchError,
            r"using=.*available names: title, body",
        ),
        (refusal(403, "Forbidden"), AccessDeniedError, r"api_key"),
        (httpx.Response(401, text="Must provide an API key"), AccessDeniedError, r"api_key"),
        (httpx.ReadTimeout("timed out"), SearchTimeoutError, r"raise timeout_s"),
        (refusal(408, "Timeout error: Operation 'search' timed out"), ContextTimeoutError, "raise"),
        (refusal(400, "Format error in JSON body"), ContextSourceError, r"Format error"),
        (refusal(429, "Slow", **{"Retry-After": "3600"}), ServerUnavailableError, r"refuses"),
    ],
)
async def test_a_refusal_says_what_to_do_and_is_not_tried_again(
    answer: Answer, error: type[Exception], advice: str
) -> None:
    server = Server(answer)
    async with connected(server) as client:
        source = QdrantSource(client, "fruit", embed, retry=QUICKLY)
        with pytest.raises(error, match=f"searching 'fruit'.*{advice}") as caught:
            await collect(source)
    assert isinstance(caught.value, ContextSourceError)
    assert caught.value.__cause__ is not None


async def test_a_server_that_stays_away_is_given_up() -> None:
    server = Server(*[refusal(503, "overloaded")] * 2)
    async with connected(server) as client:
        source = QdrantSource(client, "fruit", embed, retry=Retry(attempts=2, first_wait_s=0))
        with pytest.raises(ServerUnavailableError, match=r"Retry\(attempts=...\).*503 overloaded"):
            await collect(source)
    assert server.answers == []


async def test_a_failure_comes_after_what_was_found() -> None:
    server = Server((A,), (A,), refusal(400, "Wrong input: no"))
    async with connected(server) as client:
        events = QdrantSource(client, "fruit", embed, STAGES).stream("text")
        assert await anext(events) == Append(documents=(A.model_copy(update={"score": 1.0}),))
        with pytest.raises(ContextSourceError, match="Wrong input: no"):
            await anext(events)


async def test_a_port_where_nothing_listens(unused_tcp_port: int) -> None:
    client = AsyncQdrantClient(url=f"http://127.0.0.1:{unused_tcp_port}", check_compatibility=False)
    source = QdrantSource(client, "fruit", embed, retry=QUICKLY)
    with pytest.raises(QdrantSourceError, match="check the client's url and port") as caught:
        await collect(source)
    assert isinstance(caught.value, ServerUnavailableError)
    await client.close()
