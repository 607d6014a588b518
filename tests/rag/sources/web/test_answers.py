"""Pages of a real server, through real vLLM, to the shipped reader's answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine
from stream2llm_rag import ContextReceived, Finished, RagAnswer, StreamingRAG
from stream2llm_rag.cli._model import reader
from stream2llm_rag.reader import World
from stream2llm_rag.sources.web import WebSource
from tests.rag.sources.web.site import Site, article, source

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

QUESTIONS = 6


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[StreamEngine]:
    model = reader()
    vllm = {**model.vllm, "max_model_len": 2048, "kv_cache_memory_bytes": 32 * 2**20}
    async with StreamEngine(EngineConfig(model=model.name, vllm=vllm)) as started:
        yield started
        await started.check_integrity()


async def test_the_answer_stands_on_the_third_page(engine: StreamEngine, site: Site) -> None:
    worlds = [World(seed=30_000 + seed, entities=5) for seed in range(QUESTIONS)]
    right = 0
    for number, world in enumerate(worlds):
        turns = [asyncio.Event() for _ in world.documents]
        for document, turn in zip(world.documents, turns, strict=True):
            page = article(document.text, title=document.title)
            site.answers[f"/{number}/{document.id}"] = when(turn, page)
        urls = [site.url(f"/{number}/{document.id}") for document in world.documents]
        pages = source(site, urls, host_concurrency=len(urls))
        fact = world.documents[2].facts[0]
        answer = await ask(engine, pages, fact.question, turns)
        assert [document.metadata["url"] for document in answer.documents] == urls
        assert answer.timing.prefilled_before_final > answer.timing.prompt_tokens / 3
        right += answer.text.strip() == fact.statement
    assert right >= QUESTIONS - 1


async def ask(
    engine: StreamEngine, pages: WebSource, question: str, turns: list[asyncio.Event]
) -> RagAnswer:
    """Asks, and lets one page land after the other, each when the engine has read the others."""
    sampling = SamplingParams(temperature=0.0, max_tokens=32)
    rag = StreamingRAG(engine, pages, reader().prompt, sampling_params=sampling)
    waiting = iter(turns)
    next(waiting).set()
    async for event in rag.stream(question):
        if isinstance(event, ContextReceived) and (turn := next(waiting, None)):
            while not (await engine.stats()).parked:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            turn.set()
        elif isinstance(event, Finished):
            return event.answer
    raise AssertionError("the stream ended without an answer")


def when(turn: asyncio.Event, page: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        await turn.wait()
        return web.Response(text=page, content_type="text/html")

    return answer
