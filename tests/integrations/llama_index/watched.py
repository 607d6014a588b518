"""A real engine that remembers its latest session, and what waits for that session's prefill."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import PrivateAttr

from llama_index.llms.stream2llm import StreamingRetriever
from stream2llm_engine import SamplingParams, StreamEngine, StreamSession
from stream2llm_rag.ingest import MiniLM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "Embedding",
    "LetterCounts",
    "PatientLetterCounts",
    "PatientRetriever",
    "WatchedEngine",
    "greedy",
    "text_of",
]


class WatchedEngine(StreamEngine):
    """Remembers its latest session."""

    latest: StreamSession | None = None

    def forget(self) -> None:
        self.latest = None

    async def open_session(self, *args: Any, **kwargs: Any) -> StreamSession:
        session = await super().open_session(*args, **kwargs)
        self.latest = session
        return session

    async def until_computed(self, text: str = "") -> None:
        """Waits until the latest session is open, has ``text`` in its prompt and computed it."""
        async with asyncio.timeout(60):
            while not (  # noqa: ASYNC110 - another thread's state
                (session := self.latest)
                and session.state == "open"
                and session.prompt_token_ids
                and text in self.tokenizer.decode(session.prompt_token_ids)
            ):
                await asyncio.sleep(0.01)
            await session.wait_prefilled()


class LetterCounts(BaseEmbedding):
    """Counts letters: deterministic, and similar for similar texts."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(text.lower().count(chr(code))) for code in range(ord("a"), ord("z") + 1)]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class PatientLetterCounts(LetterCounts):
    """Embeds a query when the prompt as far as it is known is computed."""

    _engine: WatchedEngine = PrivateAttr()

    def __init__(self, engine: WatchedEngine) -> None:
        super().__init__()
        self._engine = engine

    def _get_query_embedding(self, query: str) -> list[float]:
        self._engine.run(self._engine.until_computed())
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        await self._engine.until_computed()
        return self._get_text_embedding(query)


class Embedding(BaseEmbedding):
    """The embedding model that comes with the project."""

    _model: MiniLM = PrivateAttr(default_factory=MiniLM)

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(value) for value in self._model([text])[0]]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, query)


class PatientRetriever(StreamingRetriever):
    """Waits before each next node until the one before is computed."""

    def __init__(self, engine: WatchedEngine, names: str) -> None:
        super().__init__()
        self.engine = engine
        self.names = names

    async def _astream_retrieve(self, query_bundle: Any) -> AsyncIterator[list[NodeWithScore]]:
        for place, name in enumerate(self.names):
            node = TextNode(text=text_of(name), id_=name)
            yield [NodeWithScore(node=node, score=1 / (1 + place))]
            await self.engine.until_computed(text_of(name))


def text_of(name: str) -> str:
    return f"The capital of {name} is {name}ville, its river is {name}stream. " * 4 + "End."


async def greedy(engine: StreamEngine, ids: list[int]) -> str:
    """What the model answers to a whole prompt."""
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    outputs = engine.generate({"prompt_token_ids": ids}, params)
    return "".join([output.text async for output in outputs])
