"""What is sent to a server: recorded at the transport, since no server runs here."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from qdrant_client import AsyncQdrantClient

from qdrant_stream2llm import QdrantSource, Stage, document_payload, point_id
from stream2llm_rag import Append, ContextSourceError, Document, Update
from tests.integrations.qdrant.embedding import embed

A, B, C = (Document(id=name, text=f"text {name}") for name in "abc")


class Server:
    """Answers every query with the next ranking and keeps what it was asked."""

    def __init__(self, *rankings: tuple[Document, ...]) -> None:
        self.rankings = list(rankings)
        self.requests: list[dict[str, Any]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(json.loads(request.content))
        if not self.rankings:
            return httpx.Response(503, text="overloaded")
        points = [
            {
                "id": str(point_id(document)),
                "version": 1,
                "score": 1.0 - rank / 10,
                "payload": document_payload(document),
            }
            for rank, document in enumerate(self.rankings.pop(0))
        ]
        return httpx.Response(200, json={"result": {"points": points}, "status": "ok", "time": 0})


@pytest.fixture
async def server() -> Server:
    return Server((A, B), (B, C), (B, C))


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncQdrantClient]:
    remote = AsyncQdrantClient(
        url="http://qdrant",
        transport=httpx.MockTransport(server.answer),
        check_compatibility=False,
    )
    yield remote
    await remote.close()


STAGES = [
    Stage(limit=2, hnsw_ef=16, rescore=False),
    Stage(limit=2, hnsw_ef=64, rescore=True, oversampling=2.0),
    Stage(limit=2, exact=True, score_threshold=0.1),
]


async def test_every_stage_is_sent_and_changed_rankings_are_updates(
    server: Server, client: AsyncQdrantClient
) -> None:
    source = QdrantSource(client, "fruit", embed, STAGES, using="dense")
    events = [event async for event in source.stream("text")]
    assert [(type(event), [d.id for d in event.documents]) for event in events] == [
        (Append, ["a", "b"]),
        (Update, ["b", "c"]),
    ]
    assert events[0].documents[0].score == 1.0
    quick, better, exact = (request["params"] for request in server.requests)
    assert quick == {"hnsw_ef": 16, "exact": False, "quantization": {"rescore": False}} | quick
    assert better["quantization"]["oversampling"] == 2.0
    assert exact["exact"] is True
    assert exact.get("quantization") is None
    assert [request["using"] for request in server.requests] == ["dense"] * 3
    assert server.requests[2]["score_threshold"] == 0.1


async def test_a_failing_server_is_a_typed_error(server: Server, client: AsyncQdrantClient) -> None:
    server.rankings = [(A,)]
    events = QdrantSource(client, "fruit", embed, STAGES).stream("text")
    assert await anext(events) == Append(documents=(A.model_copy(update={"score": 1.0}),))
    with pytest.raises(ContextSourceError, match="503"):
        await anext(events)
