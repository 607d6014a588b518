"""On real vLLM with a random float32 Llama, which reacts to every context token."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.retrievers import QueryFusionRetriever

from llama_index.llms.stream2llm import (
    Stream2LLM,
    StreamingContextChatEngine,
    StreamingQueryEngine,
    as_streaming_query_engine,
)
from stream2llm_engine import DeadlineExceededError, EngineConfig, StreamEngine
from tests.integrations.llama_index.watched import (
    LetterCounts,
    PatientLetterCounts,
    PatientRetriever,
    WatchedEngine,
    greedy,
    text_of,
)
from tests.support.blocking import no_blocking_calls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

QUESTION = "What is the river of Zorland?"
ZORLAND = text_of("zorland")
HOW = ["query", "aquery", "stream", "astream"]


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


async def say(chat_engine: Any, how: str, message: str) -> Any:
    match how:
        case "chat":
            return await asyncio.to_thread(chat_engine.chat, message)
        case "achat":
            return await chat_engine.achat(message)
        case "stream_chat":
            response = await asyncio.to_thread(chat_engine.stream_chat, message)
            await asyncio.to_thread(list, response.response_gen)
            return response
        case _:
            response = await chat_engine.astream_chat(message)
            assert [token async for token in response.async_response_gen()]
            return response


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


@pytest.mark.parametrize("how", HOW)
async def test_members_of_a_fusion_are_computed_as_they_find(
    engine: WatchedEngine, llm: Stream2LLM, how: str
) -> None:
    engine.forget()
    index = VectorStoreIndex.from_documents(
        [Document(text=ZORLAND)], embed_model=PatientLetterCounts(engine)
    )
    members = [PatientRetriever(engine, "abc"), index.as_retriever()]
    fusion = QueryFusionRetriever(members, llm=MockLLM(), num_queries=1, similarity_top_k=4)
    response = await ask(
        StreamingQueryEngine.from_args(fusion, llm=llm, streaming="stream" in how), how
    )
    scores = [source.score for source in response.source_nodes]
    assert scores == sorted(scores, reverse=True)
    assert {source.text for source in response.source_nodes} == {*map(text_of, "abc"), ZORLAND}
    assert engine.latest is not None
    assert response.response == await greedy(engine, engine.latest.prompt_token_ids)
    prompt = engine.tokenizer.decode(engine.latest.prompt_token_ids)
    assert "\n\n".join(source.text for source in response.source_nodes) in prompt
    assert response.metadata["stream2llm"]["prefilled_before_final"] > 100


@pytest.mark.parametrize("how", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_a_chat_overlaps_and_remembers(
    engine: WatchedEngine, llm: Stream2LLM, how: str
) -> None:
    chat_engine = StreamingContextChatEngine.from_defaults(
        PatientRetriever(engine, "abc"),
        llm=llm,
        memory=ChatMemoryBuffer.from_defaults(token_limit=1000),
    )
    answers = []
    for message in (QUESTION, "And its capital?"):
        engine.forget()
        response: Any = await say(chat_engine, how, message)
        answers.append(response.response)
        assert engine.latest is not None
        assert (
            response.response.strip()
            == (await greedy(engine, engine.latest.prompt_token_ids)).strip()
        )
        report = response.metadata["stream2llm"]
        assert report["prefilled_before_final"] > report["prompt_tokens"] / 2
        assert [source.node_id for source in response.source_nodes] == ["a", "b", "c"]
    contents = [message.content or "" for message in chat_engine.chat_history]
    assert contents[::2] == [QUESTION, "And its capital?"]
    assert [content.strip() for content in contents[1::2]] == [each.strip() for each in answers]
    assert engine.latest is not None
    assert QUESTION in engine.tokenizer.decode(engine.latest.prompt_token_ids)


async def test_the_event_loop_stays_free(engine: WatchedEngine, llm: Stream2LLM) -> None:
    """The same detector as in ``test_event_loop``, with nothing fake."""
    index = VectorStoreIndex.from_documents(
        [Document(text=text_of("zorland"))], embed_model=LetterCounts()
    )
    retriever = QueryFusionRetriever([index.as_retriever()], llm=llm, num_queries=2)
    with no_blocking_calls():
        for streaming in (False, True):
            query_engine = StreamingQueryEngine.from_args(retriever, llm=llm, streaming=streaming)
            response: Any = await query_engine.aquery(QUESTION)
            assert (await response.get_response() if streaming else response).response
        messages = [ChatMessage(role="user", content=QUESTION)]
        assert (await llm.achat(messages)).message.content


async def test_a_query_is_its_tenants(engine: WatchedEngine, llm: Stream2LLM) -> None:
    index = VectorStoreIndex.from_documents(
        [Document(text=text_of("zorland"))], embed_model=LetterCounts()
    )
    query_engine = as_streaming_query_engine(index, llm=llm)
    assert "gold" not in (await engine.stats()).tenants
    gold = query_engine.with_options(tenant="gold", priority=-1)
    assert str(await gold.aquery(QUESTION)) == str(await query_engine.aquery(QUESTION))
    assert (await engine.stats()).tenants["gold"].decode_tokens > 0
    with pytest.raises(DeadlineExceededError):
        await gold.with_options(timeout=0.1, max_tokens=1500).aquery(QUESTION)


async def test_many_queries_share_the_engine(engine: WatchedEngine, llm: Stream2LLM) -> None:
    index = VectorStoreIndex.from_documents(
        [Document(text=text_of(name)) for name in ("zorland", "quux")], embed_model=LetterCounts()
    )
    query_engine = as_streaming_query_engine(index, llm=llm)
    alone = [str(await query_engine.aquery(f"What of {i}?")) for i in range(8)]
    together = await asyncio.gather(*(query_engine.aquery(f"What of {i}?") for i in range(8)))
    assert [str(response) for response in together] == alone


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
    async with asyncio.timeout(60):
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
