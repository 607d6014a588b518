"""Two lines change, the answer does not: real indices, embeddings and reader model."""

from __future__ import annotations

import inspect
from difflib import ndiff
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.retrievers import QueryFusionRetriever
from pydantic import PrivateAttr

from llama_index.llms.stream2llm import Stream2LLM
from stream2llm_engine import EngineConfig
from stream2llm_rag.reader import reader_model
from tests.integrations.llama_index.migration import after, before, chat_after, chat_before
from tests.integrations.llama_index.watched import Embedding, WatchedEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SHELVES = (
    {
        "Zorland": "The river of Zorland is Tessin. The capital of Zorland is Mirapol.",
        "Belmar": "The anthem of Belmar is Kosta. The capital of Belmar is Ranveld.",
    },
    {
        "Osteria": "The capital of Osteria is Quillon. The flower of Osteria is Pemba.",
        "Kandor": "The king of Kandor is Ulmer. The capital of Kandor is Vestin.",
    },
)
PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer the question from the documents."),
        ("user", "{context_str}\n\nQuestion: {query_str}\nAnswer:"),
    ]
)
QUESTION = "What is the capital of Belmar?"


class PatientEmbedding(Embedding):
    """Embeds queries, if told so, when the model has computed what was found before."""

    _engine: WatchedEngine = PrivateAttr()
    _found: str | None = PrivateAttr(default=None)

    def __init__(self, engine: WatchedEngine) -> None:
        super().__init__()
        self._engine = engine

    def wait_for(self, text: str | None) -> None:
        self._found = text

    def _get_query_embedding(self, query: str) -> list[float]:
        if self._found is not None:
            self._engine.run(self._engine.until_computed(self._found))
        return super()._get_query_embedding(query)


@pytest.fixture(scope="module")
def engine() -> Iterator[WatchedEngine]:
    config = EngineConfig(
        model=str(reader_model()),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 2048,
            "kv_cache_memory_bytes": 128 * 2**20,
        },
    )
    engine = WatchedEngine(config)
    yield engine
    engine.close()


@pytest.fixture
def llm(engine: WatchedEngine) -> Stream2LLM:
    return Stream2LLM(engine=engine, temperature=0, max_tokens=32)


@pytest.fixture(scope="module")
def slow(engine: WatchedEngine) -> PatientEmbedding:
    return PatientEmbedding(engine)


@pytest.fixture
def retriever(llm: Stream2LLM, slow: PatientEmbedding) -> QueryFusionRetriever:
    """Two indices, of which the second one takes its time."""
    indices = [
        VectorStoreIndex.from_documents(
            [Document(id_=title, text=text) for title, text in shelf.items()],
            embed_model=embedding,
        )
        for shelf, embedding in zip(SHELVES, (Embedding(), slow), strict=True)
    ]
    members: Any = [index.as_retriever(similarity_top_k=1) for index in indices]
    return QueryFusionRetriever(members, llm=llm, num_queries=1, similarity_top_k=2)


def changed(old: Any, new: Any) -> list[str]:
    """Lines of the new function that are not in the old one, less its name and description."""
    lines = [inspect.getsource(each).splitlines()[2:] for each in (old, new)]
    return [line[2:].strip() for line in ndiff(lines[0], lines[1]) if line.startswith("+ ")]


@pytest.mark.parametrize("how", ["query", "aquery"])
async def test_a_query_engine_becomes_a_streaming_one(
    engine: WatchedEngine,
    llm: Stream2LLM,
    retriever: QueryFusionRetriever,
    slow: PatientEmbedding,
    how: str,
) -> None:
    assert len(changed(before, after)) == 2
    responses = []
    for made, patience in ((before, None), (after, "Belmar")):
        engine.forget()
        slow.wait_for(patience)
        query_engine = made(retriever, llm, PROMPT)
        response = (
            query_engine.query(QUESTION) if how == "query" else await query_engine.aquery(QUESTION)
        )
        responses.append(response)
        assert engine.latest is not None
        response.prompt = engine.tokenizer.decode(engine.latest.prompt_token_ids)
    old, new = responses
    assert str(new) == str(old)
    assert "Ranveld" in str(new)
    assert new.prompt == old.prompt
    assert [source.text for source in new.source_nodes] == [n.text for n in old.source_nodes]
    report = new.metadata["stream2llm"]
    # The first node was computed before the second one was found.
    assert report["prefilled_before_final"] > report["prompt_tokens"] / 3


@pytest.mark.parametrize("how", ["chat", "achat"])
async def test_a_chat_engine_becomes_a_streaming_one(
    engine: WatchedEngine,
    llm: Stream2LLM,
    retriever: QueryFusionRetriever,
    slow: PatientEmbedding,
    how: str,
) -> None:
    assert len(changed(chat_before, chat_after)) == 2
    answers, prompts = [], []
    for made, patience in ((chat_before, None), (chat_after, "Belmar")):
        chat_engine = made(retriever, llm, ChatMemoryBuffer.from_defaults(token_limit=1000))
        for message in (QUESTION, "What is its anthem?"):
            engine.forget()
            slow.wait_for(patience)
            response = (
                chat_engine.chat(message) if how == "chat" else await chat_engine.achat(message)
            )
            answers.append(response.response)
            assert engine.latest is not None
            prompts.append(engine.tokenizer.decode(engine.latest.prompt_token_ids))
    assert answers[2:] == answers[:2]
    assert prompts[2:] == prompts[:2]
