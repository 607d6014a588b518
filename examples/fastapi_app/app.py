"""A web app whose page shows documents as they arrive, and then the answer token by token.

Run it with ``python examples/fastapi_app/app.py`` and open http://127.0.0.1:8000. It needs
``pip install fastapi uvicorn``. The page is ``index.html``, and every question is one response of
server-sent events:

    documents   what is in the prompt now, with its length in tokens
    prefilled   how many of these tokens are computed
    final       the context is complete
    token       a piece of the answer
    finished    the answer is complete, with its figures
    failed      an error, by type and message
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Annotated, TypeAlias

import anyio
import uvicorn
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from stream2llm_engine import (
    EngineConfig,
    EngineStats,
    SamplingParams,
    Stream2LLMError,
    StreamEngine,
    StreamSession,
)
from stream2llm_rag import ContextSource, Document, RagPrompt, from_retriever, reader_model
from stream2llm_rag.prompt import send_delta
from stream2llm_rag.reader import parse_question
from stream2llm_rag.sources import events_of

PAGES = {
    "Quen": "The capital of Quen is Dorvale. The river of Quen is Tessin.",
    "Zorland": "The capital of Zorland is Mirapol. The river of Zorland is Bessel.",
    "Osteria": "The capital of Osteria is Quillon. The flower of Osteria is Pemba.",
    "Belmar": "The anthem of Belmar is Kosta. The capital of Belmar is Ranveld.",
}

CONFIG = EngineConfig(
    model=str(reader_model()),
    # Starts fast and takes little memory; any field of vLLM's `EngineArgs` may stand here.
    vllm={"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20},
)
PROMPT = RagPrompt(question_template="Question: {question}\nAnswer:")
ANSWER_TOKENS = 32


# -- what the app is made of ---------------------------------------------------------------------


async def crawl(query: str) -> AsyncIterator[Document]:
    """Stands for your retriever, which finds one document after another."""
    for place, text in PAGES.items():
        await asyncio.sleep(0.7)
        yield Document(id=place, text=text)


def context_source() -> ContextSource:
    """Where the context comes from."""
    return from_retriever(crawl)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, StreamEngine]]:
    """Runs one engine for all requests as long as the app runs."""
    async with StreamEngine(CONFIG) as engine:
        yield {"engine": engine}


def engine_of(request: Request) -> StreamEngine:
    """The engine that ``lifespan`` runs."""
    engine: StreamEngine = request.state.engine
    return engine


Engine: TypeAlias = Annotated[StreamEngine, Depends(engine_of)]
Source: TypeAlias = Annotated[ContextSource, Depends(context_source)]


class Asked(BaseModel):
    """What the page sends."""

    question: str = Field(max_length=300)

    @field_validator("question")
    @classmethod
    def _is_one_for_the_reader(cls, question: str) -> str:
        # With any other model this goes.
        if parse_question(question) is None:
            raise PydanticCustomError(
                "question_of_another_kind",
                'ask for the X of Y, as in "What is the capital of Zorland?"',
            )
        return question


# -- one question ----------------------------------------------------------------------------------


async def answer(
    engine: StreamEngine,
    source: ContextSource,
    question: str,
    send: MemoryObjectSendStream[ServerSentEvent],
) -> None:
    """Sends what happens while the question is being answered; cancelling it aborts the session."""
    async with send:
        try:
            assembler = PROMPT.assembler(
                engine.tokenizer,
                question,
                max_prompt_tokens=engine.max_prompt_tokens + 1 - ANSWER_TOKENS,
            )
            async with (
                await engine.open_session(assembler.prefix_ids) as session,
                asyncio.TaskGroup() as reports,
                aclosing(events_of(source, question)) as events,
            ):
                async for event in events:
                    await send_delta(session, assembler.apply(event))
                    tokens = len(session.prompt_token_ids)
                    documents = [page.model_dump() for page in assembler.documents]
                    await _tell(send, "documents", {"documents": documents, "tokens": tokens})
                    reports.create_task(_report_prefill(session, tokens, send))
                greedy = SamplingParams(temperature=0, max_tokens=ANSWER_TOKENS)
                outputs = session.finalize(assembler.suffix_ids, greedy)
                await _tell(send, "final", {"tokens": session.stats.prompt_tokens})
                async for output in outputs:
                    await _tell(send, "token", {"text": output.text})
                await _tell(send, "finished", asdict(session.stats))
        except* Stream2LLMError as errors:
            for error in errors.exceptions:
                await _tell(send, "failed", {"type": type(error).__name__, "message": str(error)})


async def _report_prefill(
    session: StreamSession, tokens: int, send: MemoryObjectSendStream[ServerSentEvent]
) -> None:
    # Where it ends without, the context became final before, or `answer` fails as well.
    with suppress(Stream2LLMError):
        await session.wait_prefilled()
        # The last one waits for its successor.
        await _tell(send, "prefilled", {"tokens": tokens - 1})


async def _tell(
    send: MemoryObjectSendStream[ServerSentEvent], event: str, data: dict[str, object]
) -> None:
    await send.send(ServerSentEvent(event=event, data=data))


Events: TypeAlias = MemoryObjectReceiveStream[ServerSentEvent]


async def answering(asked: Asked, engine: Engine, source: Source) -> AsyncIterator[Events]:
    """Has the question answered as long as somebody listens.

    It is left when the response is complete or its client is gone.
    """
    send, receive = anyio.create_memory_object_stream[ServerSentEvent](inf)
    async with receive, anyio.create_task_group() as tasks:
        tasks.start_soon(answer, engine, source, asked.question, send)
        yield receive
        tasks.cancel_scope.cancel()


# -- the app ---------------------------------------------------------------------------------------

app = FastAPI(title="Answers from a context that is still arriving", lifespan=lifespan)


@app.post("/answers", response_class=EventSourceResponse)
async def answers(
    events: Annotated[Events, Depends(answering)],
) -> AsyncIterator[ServerSentEvent]:
    """Answers a question, event by event."""
    async for event in events:
        yield event


@app.get("/stats")
async def stats(engine: Engine) -> EngineStats:
    """Returns the engine's figures."""
    return await engine.stats()


@app.get("/")
async def page() -> FileResponse:
    """Returns the page."""
    return FileResponse(Path(__file__).with_name("index.html"))


def server(port: int = 8000) -> uvicorn.Server:
    """Makes a server of the app, which does not wait for streams for long when it is to end."""
    return uvicorn.Server(uvicorn.Config(app, port=port, timeout_graceful_shutdown=3))


if __name__ == "__main__":
    server().run()
