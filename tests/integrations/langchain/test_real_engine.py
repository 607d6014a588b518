"""On real vLLM with a random float32 Llama, which reacts to every context token."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from pydantic import Field

from langchain_stream2llm import (
    ChatStream2LLM,
    DocumentDelta,
    StreamingRetriever,
    create_streaming_rag_chain,
)
from stream2llm_engine import (
    EngineConfig,
    PromptTooLongError,
    SamplingParams,
    StreamEngine,
    StreamSession,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

PROMPT = ChatPromptTemplate.from_messages(
    [("system", "Answer from the documents."), ("human", "Documents:\n{context}\nQ: {question}\n")]
)
INPUT = {"question": "What is the river of Zorland?"}


class WatchedEngine(StreamEngine):
    """Remembers its latest session."""

    latest: StreamSession | None = None

    async def open_session(self, *args: Any, **kwargs: Any) -> StreamSession:
        session = await super().open_session(*args, **kwargs)
        self.latest = session
        return session


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
def llm(engine: StreamEngine) -> ChatStream2LLM:
    return ChatStream2LLM(
        engine=engine, temperature=0, max_tokens=12, sampling={"ignore_eos": True}
    )


def long(name: str) -> Document:
    text = f"The capital of {name} is {name}ville and its river is {name}stream. " * 6
    return Document(id=name, page_content=text)


class PatientRetriever(StreamingRetriever):
    """Goes on only when the engine has computed what it found."""

    engine: WatchedEngine
    found: asyncio.Event = Field(default_factory=asyncio.Event)
    deltas: list[Any] = [  # noqa: RUF012 - pydantic copies it
        [long("a"), long("b")],
        [long("c")],
        DocumentDelta([long("d")], retract=["b"]),
    ]

    async def _astream_documents(self, query: str, *, run_manager: Any) -> Any:
        for delta in self.deltas:
            if isinstance(delta, asyncio.Event):
                self.found.set()
                await delta.wait()
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


async def call(chain: Any, how: str) -> Any:
    """Returns the message of one call."""
    match how:
        case "invoke":
            return await asyncio.to_thread(chain.invoke, INPUT)
        case "ainvoke":
            return await chain.ainvoke(INPUT)
        case "abatch":
            return (await chain.abatch([INPUT]))[0]
        case "stream":
            chunks = await asyncio.to_thread(lambda: list(chain.stream(INPUT)))
        case _:
            chunks = [chunk async for chunk in chain.astream(INPUT)]
    return sum(chunks[1:], chunks[0])


def prompt_ids(engine: StreamEngine, documents: list[Document]) -> list[int]:
    """The prompt's tokens: what the template says, cut where documents begin and end."""
    tokenizer = engine.tokenizer
    mark = "@@"
    text = tokenizer.apply_chat_template(
        [
            {"role": "system", "content": "Answer from the documents."},
            {"role": "user", "content": f"Documents:\n{mark}\nQ: {INPUT['question']}\n"},
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    prefix, suffix = text.split(mark)
    pieces = [prefix]
    for i, document in enumerate(documents):
        pieces += ["\n\n", document.page_content] if i else [document.page_content]
    pieces.append(suffix)
    return [
        token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False)
    ]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "abatch", "stream", "astream"])
async def test_the_answer_is_that_of_one_request_and_prefill_overlaps(
    engine: WatchedEngine, llm: ChatStream2LLM, how: str
) -> None:
    chain = create_streaming_rag_chain(PatientRetriever(engine=engine), PROMPT, llm)
    message = await call(chain, how)
    ids = prompt_ids(engine, [long("a"), long("c"), long("d")])
    greedy = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    outputs = engine.generate({"prompt_token_ids": ids}, greedy)
    assert message.text == "".join([output.text async for output in outputs])
    suffix = len(engine.tokenizer.encode(f"\nQ: {INPUT['question']}\n", add_special_tokens=False))
    report = message.response_metadata["stream2llm"]
    assert report["prompt_tokens"] == message.usage_metadata["input_tokens"] == len(ids)
    assert len(ids) - suffix - 10 < report["prefilled_before_final"] < len(ids)
    assert report["invalidated_tokens"] > 0
    assert report["output_tokens"] == message.usage_metadata["output_tokens"] == 12
    assert 0 < report["ttft_s"] < report["time_to_first_token_s"]
    assert report["document_ids"] == ["a", "c", "d"]


async def test_another_document_gives_another_answer(
    engine: WatchedEngine, llm: ChatStream2LLM
) -> None:
    answers = set()
    for name in "xyz":
        retriever = PatientRetriever(engine=engine, deltas=[[long(name)]])
        message = await create_streaming_rag_chain(retriever, PROMPT, llm).ainvoke(INPUT)
        answers.add(message.text)
    assert len(answers) == 3


async def test_a_context_that_can_never_fit_is_a_typed_error(
    engine: WatchedEngine, llm: ChatStream2LLM
) -> None:
    retriever = PatientRetriever(engine=engine, deltas=[[long(str(i)) for i in range(40)]])
    with pytest.raises(PromptTooLongError):
        await create_streaming_rag_chain(retriever, PROMPT, llm).ainvoke(INPUT)
    assert (await engine.stats()).open_sessions == 0


async def test_nothing_is_left_behind_when_consumers_leave(
    engine: WatchedEngine, llm: ChatStream2LLM
) -> None:
    retriever = PatientRetriever(engine=engine)
    stream: Any = create_streaming_rag_chain(retriever, PROMPT, llm).astream(INPUT)
    await anext(stream)
    await stream.aclose()
    waiting = PatientRetriever(engine=engine, deltas=[[long("a")], asyncio.Event()])
    task = asyncio.create_task(create_streaming_rag_chain(waiting, PROMPT, llm).ainvoke(INPUT))
    async with asyncio.timeout(60):
        await waiting.found.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while (stats := await engine.stats()).running or stats.open_sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await engine.check_integrity()
