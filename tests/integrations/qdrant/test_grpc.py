"""The real gRPC client and transport; behind the port stands a servant instead of a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client import grpc as qdrant_grpc
from qdrant_client.conversions.conversion import json_to_value

from qdrant_stream2llm import (
    AccessDeniedError,
    CollectionNotFoundError,
    QdrantSource,
    Retry,
    SearchTimeoutError,
    ServerUnavailableError,
    Stage,
    VectorMismatchError,
    document_payload,
    point_id,
)
from stream2llm_rag import Document
from tests.integrations.qdrant.embedding import embed
from tests.rag.sources.scripted import collect

A = Document(id="a", text="text a", metadata={"page": 1})
_Refusal = tuple[grpc.StatusCode, str]


class Servant(qdrant_grpc.PointsServicer):
    def __init__(self, *refusals: _Refusal) -> None:
        self.refusals = list(refusals)
        self.searches: list[Any] = []
        self.metadata: dict[str, str] = {}

    async def Query(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        self.searches.append(request)
        self.metadata = dict(context.invocation_metadata())
        if self.refusals:
            await context.abort(*self.refusals.pop(0))
        point = qdrant_grpc.ScoredPoint(
            id=qdrant_grpc.PointId(uuid=str(point_id(A))),
            payload={key: json_to_value(value) for key, value in document_payload(A).items()},
            score=0.5,
        )
        return qdrant_grpc.QueryResponse(result=[point])


@asynccontextmanager
async def serving(servant: Servant, **options: Any) -> AsyncIterator[AsyncQdrantClient]:
    server = grpc.aio.server()
    qdrant_grpc.add_PointsServicer_to_server(servant, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = AsyncQdrantClient(
        host="127.0.0.1", grpc_port=port, prefer_grpc=True, check_compatibility=False, **options
    )
    yield client
    await client.close()
    await server.stop(None)


async def test_a_search_over_grpc() -> None:
    servant = Servant()
    async with serving(servant, headers={"api-key": "secret"}) as client:
        stage = Stage(limit=3, hnsw_ef=32, rescore=True, score_threshold=0.25)
        (event,) = await collect(QdrantSource(client, "fruit", embed, [stage], timeout_s=9))
    assert event.documents == (A.model_copy(update={"score": 0.5}),)
    (search,) = servant.searches
    assert (search.collection_name, search.limit, search.timeout) == ("fruit", 3, 9)
    assert search.params.hnsw_ef == 32
    assert search.params.quantization.rescore
    assert search.score_threshold == 0.25
    assert servant.metadata["api-key"] == "secret"


async def test_a_server_that_comes_back_is_tried_again() -> None:
    servant = Servant((grpc.StatusCode.UNAVAILABLE, "starting"))
    async with serving(servant) as client:
        assert await collect(QdrantSource(client, "fruit", embed, retry=Retry(first_wait_s=0)))
    assert len(servant.searches) == 2


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        ((grpc.StatusCode.NOT_FOUND, "Collection `fruit` doesn't exist!"), CollectionNotFoundError),
        (
            (grpc.StatusCode.INVALID_ARGUMENT, "Wrong input: Not existing vector name error: x"),
            VectorMismatchError,
        ),
        ((grpc.StatusCode.PERMISSION_DENIED, "Invalid API key"), AccessDeniedError),
        ((grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), SearchTimeoutError),
    ],
)
async def test_refusals_say_what_to_do(refusal: _Refusal, error: type[Exception]) -> None:
    servant = Servant(refusal)
    async with serving(servant) as client:
        with pytest.raises(error, match=rf"searching 'fruit'.*{refusal[0].name}"):
            await collect(QdrantSource(client, "fruit", embed))
    assert len(servant.searches) == 1


async def test_a_port_where_nothing_listens(unused_tcp_port: int) -> None:
    client = AsyncQdrantClient(
        host="127.0.0.1", grpc_port=unused_tcp_port, prefer_grpc=True, check_compatibility=False
    )
    source = QdrantSource(client, "fruit", embed, retry=Retry(attempts=1))
    with pytest.raises(ServerUnavailableError, match="check the client's url and port"):
        await collect(source)
    await client.close()
