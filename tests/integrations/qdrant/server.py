"""Stands in for a Qdrant server, which cannot run here: it answers below the real client.

The errors are what servers of version 1.x send.
"""

import json
from typing import Any

import httpx

from qdrant_stream2llm import document_payload, point_id
from stream2llm_rag import Document

Answer = tuple[Document, ...] | httpx.Response | Exception


def refusal(status: int, words: str, **headers: str) -> httpx.Response:
    body = {"status": {"error": words}, "time": 0.0001}
    return httpx.Response(status, json=body, headers=headers)


class Server:
    """Gives one answer after the other to searches and keeps what it was asked.

    Args:
        *answers: Rankings, refusals, or errors of the transport.
    """

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    @property
    def searches(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        points = [
            {
                "id": str(point_id(document)),
                "version": 1,
                "score": 1.0 - rank / 10,
                "payload": document_payload(document),
            }
            for rank, document in enumerate(answer)
        ]
        return httpx.Response(200, json={"result": {"points": points}, "status": "ok", "time": 0})
