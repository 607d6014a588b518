"""On real vLLM with a random float32 Llama, which reacts to every context token."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import PrivateAttr

from llama_index.llms.stream2llm import (
    Stream2LLM,
    StreamingQueryEngine,
    StreamingRetriever,
    as_streaming_query_engine,
)
from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine, StreamSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

QUESTION = "What is the river of Zorland?"
HOW = ["query", "aquery", "stream", "astream"]


class WatchedEngine(StreamEngine):
    """Remembers its latest session."""

    latest: StreamSession | None = None

    def forget(self) -> None:
        self.latest = None

    async def open_session(self, *args: Any, **kwargs: Any) -> StreamSession:
        session = await super().open_session(*args, **kwargs)
        self.latest = session
        return session


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
        return self._engine.run(self._aget_query_embedding(query))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        async with asyncio.timeout(60):
            while not (  # noqa: ASYNC110 - another thread's state
                (session := self._engine.latest) and session.prompt_token_ids
            ):
                await asyncio.sleep(0.01)
        await session.wait_prefilled()
        return self._get_text_embedding(query)


class PatientRetriever(StreamingRetriever):
    """Waits before each next node until the one before is computed."""

    def __init__(self, engine: WatchedEngine, names: str) -> None:
        super().__init__()
        self.engine = engine
        self.names = names

    async def _astream_retrieve(self, query_bundle: Any) -> AsyncIterator[list[NodeWithScore]]:
        for name in self.names:
            yield [NodeWithScore(node=TextNode(text=text_of(name), id_=name))]
            async with asyncio.timeout(60):
                while not self._computed(name):  # noqa: ASYNC110 - another thread's state
                    await asyncio.sleep(0.01)
            assert self.engine.latest is not None
            await self.engine.latest.wait_prefilled()

    def _computed(self, name: str) -> bool:
        session = self.engine.latest
        if session is None:
            return False
        return text_of(name) in self.engine.tokenizer.decode(session.prompt_token_ids)


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Iterator[WatchedEngine]:
    config = EngineConfig(
        model=str(tiny_llama),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 2048,
            "kv_cache_memory_bytes": 64 * 2**20,
        },
    )
    engine = WatchedEngine(config)
    yield engine
    engine.close()


@pytest.fixture
def llm(engine: StreamEngine) -> Stream2LLM:
    return Stream2LLM(
        engine=engine, temperature=0, max_tokens=12, additional_kwargs={"ignore_eos": True}
    )


def text_of(name: str) -> str:
    return f"The capital of {name} is {name}ville, its river is {name}stream. " * 4 + "End."


async def ask(query_engine: Any, how: str) -> Any:
    match how:
        case "query":
            return await asyncio.to_thread(query_engine.query, QUESTION)
        case "aquery":
            return await query_engine.aquery(QUESTION)
        case "stream":
            response = await asyncio.to_thread(query_engine.query, QUESTION)
            return await asyncio.to_thread(response.get_response)
        case _:
            return await (await query_engine.aquery(QUESTION)).get_response()


async def greedy(engine: StreamEngine, ids: list[int]) -> str:
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    outputs = engine.generate({"prompt_token_ids": ids}, params)
    return "".join([output.text async for output in outputs])


def prompt_ids(engine: StreamEngine, messages: list[ChatMessage], names: str) -> list[int]:
    """The prompt's tokens: what the templates say, cut where nodes begin and end."""
    tokenizer = engine.tokenizer
    text = tokenizer.apply_chat_template(
        [{"role": message.role.value, "content": message.content} for message in messages],
        tokenize=False,
        add_generation_prompt=True,
    )
    context = "\n\n".join(map(text_of, names))
    prefix, suffix = text.split(context)
    pieces = [prefix]
    for i, name in enumerate(names):
        pieces += ["\n\n", text_of(name)] if i else [text_of(name)]
    pieces.append(suffix)
    return [
        token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False)
    ]


@pytest.mark.parametrize("how", HOW)
async def test_the_answer_is_that_of_one_request_and_prefill_overlaps(
    engine: WatchedEngine, llm: Stream2LLM, how: str
) -> None:
    engine.forget()
    retriever = PatientRetriever(engine, "abc")
    query_engine = StreamingQueryEngine.from_args(retriever, llm=llm, streaming="stream" in how)
    response = await ask(query_engine, how)
    template = query_engine.get_prompts()["response_synthesizer:text_qa_template"]
    context = "\n\n".join(map(text_of, "abc"))
    messages = template.format_messages(llm=llm, context_str=context, query_str=QUESTION)
    ids = prompt_ids(engine, messages, "abc")
    assert engine.latest is not None
    assert engine.latest.prompt_token_ids == ids
    assert response.response == await greedy(engine, ids)
    report = response.metadata["stream2llm"]
    assert report["prompt_tokens"] == len(ids)
    # All but the held last token of the nodes, and what comes behind them.
    assert len(ids) / 2 < report["prefilled_before_final"] < len(ids)
    assert report["output_tokens"] == 12
    assert 0 < report["ttft_s"] < report["time_to_first_token_s"]
    assert [source.node_id for source in response.source_nodes] == ["a", "b", "c"]


async def test_other_nodes_give_another_answer(engine: WatchedEngine, llm: Stream2LLM) -> None:
    answers = set()
    for name in "xyz":
        engine.forget()
        retriever = PatientRetriever(engine, name)
        answers.add(str(await StreamingQueryEngine.from_args(retriever, llm=llm).aquery(QUESTION)))
    assert len(answers) == 3


async def test_a_vector_index_becomes_streaming_with_one_line(
    engine: WatchedEngine, llm: Stream2LLM
) -> None:
    documents = [Document(text=text_of(name), id_=name) for name in ("zorland", "quux", "mimmim")]
    index = VectorStoreIndex.from_documents(documents, embed_model=PatientLetterCounts(engine))
    query_engine = as_streaming_query_engine(index, llm=llm, similarity_top_k=2)
    for how in ("query", "aquery"):
        engine.forget()
        response = await ask(query_engine, how)
        assert len(response.source_nodes) == 2
        assert "zorland" in response.source_nodes[0].text
        assert engine.latest is not None
        assert response.response == await greedy(engine, engine.latest.prompt_token_ids)
        # The head of the prompt; an ordinary retriever has nothing else to give early.
        assert response.metadata["stream2llm"]["prefilled_before_final"] > 50


@pytest.mark.parametrize("how", HOW[:2])
async def test_a_fusion_retriever_may_ask_the_same_model(llm: Stream2LLM, how: str) -> None:
    # It calls the model synchronously, also from its asynchronous methods.
    index = VectorStoreIndex.from_documents(
        [Document(text=text_of("zorland"))], embed_model=LetterCounts()
    )
    fusion = QueryFusionRetriever(
        [index.as_retriever()], llm=llm, num_queries=2, use_async=how == "aquery"
    )
    response = await ask(StreamingQueryEngine.from_args(fusion, llm=llm), how)
    assert len(response.source_nodes) == 1
    assert response.metadata["stream2llm"]["output_tokens"] == 12


async def test_chat_equals_the_template_and_streams_add_up(
    engine: WatchedEngine, llm: Stream2LLM
) -> None:
    text = engine.tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True
    )
    expected = await greedy(engine, engine.tokenizer.encode(text, add_special_tokens=False))
    messages = [ChatMessage(role="user", content=QUESTION)]
    assert (await llm.achat(messages)).message.content == expected
    assert llm.complete(QUESTION).text == expected
    pieces = [piece async for piece in await llm.astream_chat(messages)]
    assert "".join(piece.delta or "" for piece in pieces) == expected
    assert pieces[-1].additional_kwargs["completion_tokens"] == 12
    stopped = await llm.acomplete(QUESTION, stop=[expected[4:7]], max_tokens=40)
    assert stopped.text == expected[: expected.index(expected[4:7])]
    assert stopped.raw["finish_reason"] == "stop"
    seeded = [llm.complete(QUESTION, temperature=1.5, seed=seed).text for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1] != seeded[2]


async def test_settings_and_another_model_side_by_side(llm: Stream2LLM) -> None:
    before = Settings._llm
    Settings.llm = llm
    try:
        index = VectorStoreIndex.from_documents([Document(text="x")], embed_model=LetterCounts())
        assert str(await as_streaming_query_engine(index).aquery(QUESTION))
        assert str(await index.as_query_engine(llm=MockLLM()).aquery(QUESTION))
    finally:
        Settings._llm = before


async def test_nothing_is_left_behind_when_readers_leave(
    engine: WatchedEngine, llm: Stream2LLM
) -> None:
    engine.forget()
    query_engine = StreamingQueryEngine.from_args(
        PatientRetriever(engine, "abc"), llm=llm, streaming=True
    )
    response: Any = await query_engine.aquery(QUESTION)
    await anext(response.response_gen)
    await response.response_gen.aclose()
    await query_engine.aquery(QUESTION)
    task = asyncio.create_task(
        StreamingQueryEngine.from_args(PatientRetriever(engine, "abc"), llm=llm).aquery(QUESTION)
    )
    while not (await engine.stats()).open_sessions:  # noqa: ASYNC110 - another thread's state
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stats = await engine.stats()
    for _ in range(1000):
        if not stats.running and not stats.open_sessions:
            break
        await asyncio.sleep(0.03)
        stats = await engine.stats()
    assert (stats.running, stats.waiting, stats.open_sessions) == (0, 0, 0)
    assert stats.free_blocks == stats.total_blocks
    await engine.check_integrity()
