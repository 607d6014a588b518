"""The same users and questions in both modes on one engine."""

import asyncio
import time
from contextlib import aclosing
from typing import Any, assert_never

from stream2llm_engine import SamplingParams, StreamEngine
from stream2llm_rag.cli._demo._board import Board
from stream2llm_rag.cli._demo._corpus import Corpus
from stream2llm_rag.cli._demo._crawl import Crawl
from stream2llm_rag.cli._demo._recording import RecordingEngine, Span
from stream2llm_rag.cli._demo._result import Mode, Turn
from stream2llm_rag.cli._demo._settings import DemoSettings
from stream2llm_rag.cli._model import Model
from stream2llm_rag.pipeline import ContextFinal, ContextReceived, Finished, StreamingRAG, Token
from stream2llm_rag.reader import Fact

__all__ = ["DemoRun"]

_STAGGER_S = 1.0
_WARM_UP_TOKENS = 512


class DemoRun:
    """Serves every user's questions, blocking and streaming.

    Args:
        engine: A started engine.
        model: The model it runs.
        corpus: Index and questions.
        settings: Size and pace.
        board: Where progress is shown.
    """

    def __init__(
        self,
        engine: StreamEngine,
        model: Model,
        corpus: Corpus,
        settings: DemoSettings,
        board: Board,
    ) -> None:
        self._engine = engine
        self._model = model
        self._corpus = corpus
        self._settings = settings
        self._board = board
        self._sampling: Any = SamplingParams(temperature=0.0, max_tokens=model.max_tokens)

    async def warm_up(self) -> None:
        """Runs one request of each kind, so that neither mode pays for first-time work."""
        tokens = list(range(100, 100 + _WARM_UP_TOKENS))
        async for _ in self._engine.generate({"prompt_token_ids": tokens}, self._sampling):
            pass
        session = await self._engine.open_session(tokens[::-1])
        await session.wait_prefilled()
        async for _ in session.finalize(tokens[:1], self._sampling):
            pass

    async def serve(self, mode: Mode) -> list[Turn]:
        """Serves all users at once; no prefix of the mode before is left in the cache."""
        await self._engine.reset_prefix_cache()
        start = time.perf_counter()
        with self._board.mode(f"{mode}: {_DESCRIPTIONS[mode]}"):
            async with asyncio.TaskGroup() as group:
                users = [
                    group.create_task(self._serve_user(mode, user, questions, start))
                    for user, questions in enumerate(self._corpus.questions)
                ]
        return [turn for user in users for turn in user.result()]

    async def _serve_user(
        self, mode: Mode, user: int, questions: list[Fact], start: float
    ) -> list[Turn]:
        await asyncio.sleep(user * _STAGGER_S * self._settings.time_scale)
        return [
            await self._ask(mode, user, fact, f"{user}-{number}", start)
            for number, fact in enumerate(questions)
        ]

    async def _ask(self, mode: Mode, user: int, fact: Fact, key: str, start: float) -> Turn:
        recorder = RecordingEngine(self._engine)
        rag = StreamingRAG(
            recorder,
            Crawl(self._corpus.index, self._settings, key),
            self._model.prompt,
            sampling_params=self._sampling,
            tenant=f"user-{user}",
            blocking=mode == "blocking",
        )
        asked = time.perf_counter() - start
        arrivals: list[float] = []
        text = ""
        async with aclosing(rag.stream(fact.question)) as events:
            async for event in events:
                match event:
                    case ContextReceived():
                        arrivals.append(time.perf_counter() - start)
                        state = f"retrieving: {len(arrivals)} pages"
                    case ContextFinal(documents):
                        state = f"{len(documents)} documents, waiting for the first token"
                    case Token(piece):
                        text += piece
                        state = text
                    case Finished(answer):
                        self._board.done(user, fact.question, answer.text)
                        return Turn.of(
                            mode,
                            user,
                            fact,
                            answer,
                            asked_s=asked,
                            arrivals_s=arrivals,
                            prefills_s=[_since(start, span) for span in recorder.prefills],
                        )
                    case _:
                        assert_never(event)
                self._board.show(user, fact.question, state)
        raise AssertionError("the stream ended without an answer")


_DESCRIPTIONS: dict[Mode, str] = {
    "blocking": "retrieve everything, then prefill, then answer",
    "streaming": "prefill every page as it arrives",
}


def _since(start: float, span: Span) -> tuple[float, float]:
    return span.start - start, span.end - start
