"""Any kind of Qdrant client, called without blocking the event loop."""

import asyncio
import inspect
from typing import Any

from qdrant_client import AsyncQdrantClient, QdrantClient, models

from qdrant_stream2llm._failures import search_errors
from qdrant_stream2llm._retry import Retry
from stream2llm_rag.sources import run_in_thread

__all__ = ["Connection"]


class Connection:
    """Searches through a client, sync or async, remote or in this process.

    Args:
        client: The client.
        retry: What to do when the server does not answer.
        timeout_s: Bound of one request; None leaves it to the client.
    """

    def __init__(
        self, client: AsyncQdrantClient | QdrantClient, retry: Retry, timeout_s: int | None
    ) -> None:
        options: dict[str, Any] = client.init_options
        self.in_process = options["location"] == ":memory:" or options["path"] is not None
        self._client = client
        self._is_async = inspect.iscoroutinefunction(client.query_points)
        self._retry = retry
        self._timeout_s = timeout_s

    async def search(self, what: str, collection: str, **request: Any) -> list[models.ScoredPoint]:
        """Sends one query.

        Args:
            what: The search, for error messages.
            collection: The collection to search.
            **request: As ``query_points`` of the client takes it.

        Raises:
            QdrantSourceError: A failure of a known kind.
            ContextSourceError: Any other.
        """

        def query() -> Any:
            return self._client.query_points(collection, timeout=self._timeout_s, **request)

        with search_errors(what):
            response: models.QueryResponse = await self._retry.call(lambda: self._run(query))
        return response.points

    async def _run(self, query: Any) -> Any:
        if not self._is_async:
            return await run_in_thread(query)
        if self.in_process:
            # It computes in its coroutine without ever giving the loop back.
            return await run_in_thread(lambda: asyncio.run(query()))
        return await query()
