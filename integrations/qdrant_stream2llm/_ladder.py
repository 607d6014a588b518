"""Running the stages of a source."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NamedTuple, TypeAlias, assert_never

from qdrant_stream2llm._embed import Embed, QueryVectors
from qdrant_stream2llm._emission import Early, Emission
from qdrant_stream2llm._fusion import fused
from qdrant_stream2llm._plan import Latencies, skipped_stages
from qdrant_stream2llm._stages import AnyStage, Hybrid, Rerank, Stage, check_order
from stream2llm_rag import Append, Document, Update
from stream2llm_rag.events import ranked_after
from stream2llm_rag.sources import reranked

__all__ = ["Ladder"]

_logger = logging.getLogger(__name__)
_Search: TypeAlias = Callable[[Stage, Any], Awaitable[tuple[Document, ...]]]


class _Found(NamedTuple):
    """A ranking, how long it took, and whether the stage has no other."""

    documents: tuple[Document, ...]
    seconds: float
    complete: bool = True


class Ladder:
    """The stages of a source, with what is known about their latency.

    Args:
        name: The source, for messages.
        stages: The stages.
        embed: Embeds the query for stages that have no embedding of their own.
        search: Runs one search with the query's vector.
        early: What to pass on before the final ranking.
        document_prefill_s: How long the engine takes to prefill one document.
        clock: Tells seconds.
    """

    def __init__(
        self,
        name: str,
        stages: tuple[AnyStage, ...],
        embed: Embed,
        search: _Search,
        *,
        early: Early,
        document_prefill_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_order(stages)
        self._name = name
        self._stages = stages
        self._embed = embed
        self._search = search
        self._early: Early = early
        self._document_prefill_s = document_prefill_s
        self._clock = clock
        self._latencies = Latencies(len(stages))
        self._skipped: dict[int, str] = {}

    async def stream(self, query: str) -> AsyncGenerator[Append | Update, None]:
        """Retrieves for ``query``.

        Raises:
            ContextSourceError: Embedding, searching or reranking failed.
        """
        numbers = self._plan()
        vectors = QueryVectors(query)
        emission = Emission(self._early)
        documents: tuple[Document, ...] = ()
        try:
            for number in numbers:
                async with aclosing(self._run(number, query, documents, vectors)) as rankings:
                    async for found in rankings:
                        documents = found.documents
                        final = found.complete and number == numbers[-1]
                        take = emission.final if final else emission.early
                        if (event := take(documents)) is not None:
                            yield event
        finally:
            await vectors.close()

    def _plan(self) -> list[int]:
        skipped = skipped_stages(
            self._stages,
            self._latencies.typical,
            document_prefill_s=self._document_prefill_s,
            early=self._early,
        )
        before, self._skipped = self._skipped, skipped
        for number in sorted(before.keys() ^ skipped.keys()):
            why = f"is skipped: {skipped[number]}" if number in skipped else "runs again"
            count = len(self._stages)
            _logger.info("%s: stage %d of %d %s", self._name, number + 1, count, why)
        return [number for number in range(len(self._stages)) if number not in skipped]

    async def _run(
        self, number: int, query: str, documents: tuple[Document, ...], vectors: QueryVectors
    ) -> AsyncGenerator[_Found, None]:
        stage = self._stages[number]
        match stage:
            case Stage():
                found = await self._find(stage, vectors)
                self._latencies.record(number, found.seconds)
                yield found
            case Hybrid():
                async with aclosing(self._find_all(stage, vectors)) as arrivals:
                    async for found in arrivals:
                        if found.complete:
                            self._latencies.record(number, found.seconds)
                        yield found
            case Rerank():
                found = await self._rerank(stage, query, documents)
                self._latencies.record(number, found.seconds)
                yield found
            case _:
                assert_never(stage)

    async def _find(self, stage: Stage, vectors: QueryVectors) -> _Found:
        # The source's own embedding is computed once, whichever stage comes first; it tells nothing
        # about the stage.
        if stage.embed is None:
            vector = await vectors.of(self._embed)
            started = self._clock()
        else:
            started = self._clock()
            vector = await vectors.of(stage.embed)
        documents = await self._search(stage, vector)
        return _Found(_distinct(documents), self._clock() - started)

    async def _find_all(
        self, hybrid: Hybrid, vectors: QueryVectors
    ) -> AsyncGenerator[_Found, None]:
        async def find(place: int, stage: Stage) -> tuple[int, _Found]:
            return place, await self._find(stage, vectors)

        tasks = [
            asyncio.create_task(find(place, stage)) for place, stage in enumerate(hybrid.searches)
        ]
        arrived: dict[int, _Found] = {}
        try:
            for arrival in asyncio.as_completed(tasks):
                place, found = await arrival
                arrived[place] = found
                yield _fused(hybrid, arrived)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _rerank(self, stage: Rerank, query: str, documents: tuple[Document, ...]) -> _Found:
        started = self._clock()
        ranked = await reranked(stage.reranker, query, documents) if documents else ()
        return _Found(_distinct(ranked)[: stage.limit], self._clock() - started)


def _fused(hybrid: Hybrid, arrived: dict[int, _Found]) -> _Found:
    # In the order of the searches, so that the fusion does not depend on which was faster.
    places = sorted(arrived)
    weights = [hybrid.weights[place] for place in places] if hybrid.weights else None
    documents = fused([arrived[place].documents for place in places], hybrid.limit, weights)
    seconds = max(found.seconds for found in arrived.values())
    return _Found(documents, seconds, complete=len(arrived) == len(hybrid.searches))


def _distinct(documents: tuple[Document, ...]) -> tuple[Document, ...]:
    return ranked_after((), Update(documents=documents))
