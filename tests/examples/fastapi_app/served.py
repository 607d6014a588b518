"""The app on a real server, asked as its page asks it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from examples.fastapi_app.app import app, context_source, server
from stream2llm_rag import Append, Document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from stream2llm_rag import ContextSource

QUESTION = "What is the capital of Zorland?"
ANSWER = "The capital of Zorland is Mirapol."

QUEN = Document(id="Quen", text="The capital of <b>Quen</b> is Dorvale. Its river is Tessin.")
ZORLAND = Document(id="Zorland", text=ANSWER)


class Served:
    """The app on a free port, in a thread, until :meth:`stop`."""

    def __init__(self) -> None:
        self._server = server(port=0)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server could not start"
            time.sleep(0.05)
        (listening,) = self._server.servers[0].sockets
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def stop(self) -> None:
        """Ends the server as a signal would."""
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def open_sessions(self) -> int:
        async with httpx.AsyncClient(base_url=self.url) as client:
            figures = (await client.get("/stats")).json()
        return int(figures["open_sessions"])

    @asynccontextmanager
    async def asked(self, question: str = QUESTION) -> AsyncIterator[AsyncIterator[Event]]:
        """Asks a question; leaving goes away."""
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=60) as client,
            client.stream("POST", "/answers", json={"question": question}) as response,
        ):
            assert response.headers["Content-Type"].startswith("text/event-stream")
            yield _events(response)


Event = tuple[str, dict[str, Any]]


async def _events(response: httpx.Response) -> AsyncIterator[Event]:
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


class Gated:
    """Delivers one document, and the other one when the test says so."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.ended = threading.Event()

    async def stream(self, query: str) -> AsyncIterator[Append]:
        assert query == QUESTION
        try:
            yield Append(documents=(QUEN,))
            while not self.go_on.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.01)
            yield Append(documents=(ZORLAND,))
        finally:
            self.ended.set()


class Broken:
    """Delivers one document and fails."""

    async def stream(self, query: str) -> AsyncIterator[Append]:
        yield Append(documents=(QUEN,))
        msg = f"no more about {query!r}"
        raise OSError(msg)


@contextmanager
def answering_from(source: ContextSource) -> Iterator[None]:
    """Questions asked meanwhile are answered from ``source``."""
    app.dependency_overrides[context_source] = lambda: source
    try:
        yield
    finally:
        del app.dependency_overrides[context_source]
