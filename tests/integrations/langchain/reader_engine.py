"""The shipped reader on real vLLM, and a retriever that waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from pydantic import ConfigDict, Field

from langchain_stream2llm import StreamingRetriever
from stream2llm_engine import EngineConfig, StreamEngine, StreamSession
from stream2llm_rag.reader import reader_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUESTION = "What is the capital of Zorland?"
ANSWER = "Mirapol"
FACTS = {
    "Quen": "The river of Quen is Tessin. The capital of Quen is Dorvale.",
    "Zorland": "The capital of Zorland is Mirapol. The river of Zorland is Bessel.",
    "Belmar": "The anthem of Belmar is Kosta. The capital of Belmar is Ranveld.",
    "Osteria": "The capital of Osteria is Quillon. The flower of Osteria is Pemba.",
}
OUTDATED = "The capital of Zorland is Larnak. The river of Zorland is Bessel."


def facts(*names: str) -> list[Document]:
    return [Document(id=name, page_content=FACTS[name]) for name in names]


class WatchedEngine(StreamEngine):
    """Remembers its latest session."""

    latest: StreamSession | None = None

    async def open_session(self, *args: Any, **kwargs: Any) -> StreamSession:
        self.latest = await super().open_session(*args, **kwargs)
        return self.latest

    @property
    def computed_early(self) -> int:
        """How many tokens of the latest prompt were computed before it was complete."""
        assert self.latest is not None
        return self.latest.stats.prefilled_before_final


def reader_engine() -> WatchedEngine:
    config = EngineConfig(
        model=str(reader_model()),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 1024,
            "kv_cache_memory_bytes": 64 * 2**20,
        },
    )
    return WatchedEngine(config)


class PatientRetriever(StreamingRetriever):
    """Goes on only when the engine has computed what it found."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    engine: WatchedEngine
    deltas: list[Any]
    waiting: asyncio.Event = Field(default_factory=asyncio.Event)

    async def _astream_documents(
        self, query: str, *, run_manager: Any
    ) -> AsyncIterator[list[Document]]:
        for delta in self.deltas:
            if isinstance(delta, asyncio.Event):
                self.waiting.set()
                await delta.wait()
                continue
            yield delta
            async with asyncio.timeout(60):
                while not self._knows(delta[-1].page_content):  # noqa: ASYNC110 - another task's
                    await asyncio.sleep(0.001)
                assert self.engine.latest is not None
                await self.engine.latest.wait_prefilled()

    def _knows(self, text: str) -> bool:
        session = self.engine.latest
        if session is None or session.state != "open":
            return False
        return text in self.engine.tokenizer.decode(session.prompt_token_ids)
