import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge
from langchain_core.embeddings import Embeddings
from llama_index.core.embeddings import MockEmbedding
from numpy.typing import NDArray

from qdrant_stream2llm import (
    BM25,
    EdgeSource,
    Hybrid,
    IndexInUseError,
    IndexNotFoundError,
    PayloadKeys,
    Rerank,
    Stage,
    VectorMismatchError,
)
from stream2llm_rag import Append, ContextSource, ContextSourceError, Document, Update
from tests.integrations.qdrant.embedding import SIZE, embed

FRUIT = [
    Document(id="apple", text="apple trees grow in cold orchards", metadata={"page": 1}),
    Document(id="banana", text="banana plants grow in warm valleys", metadata={"page": 2}),
    Document(id="cherry", text="cherry trees flower in early spring", metadata={"page": 3}),
]


async def ids(source: ContextSource, query: str) -> list[list[str]]:
    return [[document.id for document in event.documents] async for event in source.stream(query)]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[EdgeSource]:
    with EdgeSource.create(tmp_path / "index", FRUIT, embed, [Stage(limit=2)]) as created:
        yield created


async def test_documents_come_back_ranked_with_everything_they_had(source: EdgeSource) -> None:
    (event,) = [event async for event in source.stream("cherry trees in spring")]
    assert isinstance(event, Append)
    best, second = event.documents
    assert best.model_copy(update={"score": None}) == FRUIT[2]
    assert best.score is not None
    assert second.score is not None
    assert best.score > second.score


async def test_an_index_can_be_opened_again(tmp_path: Path, source: EdgeSource) -> None:
    source.close()
    with EdgeSource(tmp_path / "index", embed) as again:
        assert (await ids(again, "warm banana valleys"))[0][0] == "banana"


async def test_upsert_replaces_by_id(source: EdgeSource) -> None:
    source.upsert([Document(id="apple", text="submarine engines run on diesel")])
    (event,) = [event async for event in source.stream("submarine engines")]
    assert event.documents[0].id == "apple"
    assert event.documents[0].text.startswith("submarine")
    assert len(await ids(source, "anything else")) == 1


async def test_what_is_added_is_found_at_once_and_indexed_on_demand(tmp_path: Path) -> None:
    documents = [Document(id=str(number), text=str(number)) for number in range(900)]
    path = tmp_path / "index"
    with EdgeSource.create(path, documents[:300], lookup, [Stage(limit=1)], quantized=True) as made:
        assert _indexed(made) == 300
        made.upsert(documents[300:])
        assert await ids(made, "800") == [["800"]]
        assert _indexed(made) == 300
        made.optimize()
        assert await ids(made, "800") == [["800"]]
        assert _indexed(made) == 900


def _indexed(source: EdgeSource) -> int:
    """How many vectors the search graph has, which only Qdrant tells."""
    return source._shard.info().indexed_vectors_count


async def test_a_filter_applies_to_every_stage(tmp_path: Path, source: EdgeSource) -> None:
    source.close()
    page = qdrant_edge.FieldCondition(key="metadata.page", match=qdrant_edge.MatchValue(value=2))
    only = qdrant_edge.Filter(must=[page])
    with EdgeSource(tmp_path / "index", embed, query_filter=only) as filtered:
        assert await ids(filtered, "apple trees") == [["banana"]]


NUMBERS = np.random.default_rng(0).standard_normal((3000, SIZE)).astype(np.float32)
STAGES = [
    Stage(limit=10, hnsw_ef=10, rescore=False),
    Stage(limit=10, exact=True, rescore=True),
    Stage(limit=10, exact=True, rescore=True),
]


def lookup(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([NUMBERS[int(text)] for text in texts])


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized index, big enough for its stages to differ."""
    path = tmp_path_factory.mktemp("numbers") / "index"
    documents = [Document(id=str(number), text=str(number)) for number in range(len(NUMBERS))]
    EdgeSource.create(path, documents, lookup, quantized=True).close()
    return path


async def test_stages_are_updates_when_the_ranking_changes(numbers: Path) -> None:
    with EdgeSource(numbers, lookup, STAGES, early="all", document_prefill_s=0) as source:
        kinds = set()
        for number in range(20):
            events = [event async for event in source.stream(str(number))]
            kinds.add(tuple(type(event) for event in events))
            exact = np.argsort(-_cosine(NUMBERS, NUMBERS[number]))[:10]
            assert [document.id for document in events[-1].documents] == [str(i) for i in exact]
    assert (Append, Update) in kinds
    assert kinds <= {(Append,), (Append, Update)}


async def test_stages_that_end_at_once_collapse(
    numbers: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="qdrant_stream2llm"),
        EdgeSource(numbers, lookup, STAGES, early="all", document_prefill_s=60) as source,
    ):
        ran = [[event.kind async for event in source.stream(str(number))] for number in range(3)]
    assert ran[1:] == [["append"], ["append"]]
    assert "stage 2 of 3 is skipped: the final ranking is there" in caplog.text


async def test_the_settled_start_of_real_stages_comes_before_the_reranker(numbers: Path) -> None:
    def backwards(query: str, ranked: tuple[Document, ...]) -> list[Document]:
        return list(ranked[::-1])

    quick, better, _ = STAGES
    stages = (quick, better, Rerank(reranker=backwards))
    with EdgeSource(numbers, lookup, stages, document_prefill_s=0) as source:
        events = [event async for event in source.stream("7")]
    early, last = events
    assert isinstance(early, Append)
    assert early.documents[0].id == "7"
    exact = np.argsort(-_cosine(NUMBERS, NUMBERS[7]))[:10]
    assert [document.id for document in last.documents] == [str(i) for i in exact[::-1]]


def _cosine(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return np.asarray(vectors @ query / norms)


async def test_searches_run_beside_each_other(source: EdgeSource) -> None:
    queries = ["apple orchards", "banana valleys", "cherry spring"] * 10
    found = await asyncio.gather(*(ids(source, query) for query in queries))
    assert [result[0][0] for result in found] == ["apple", "banana", "cherry"] * 10


async def test_keyword_and_dense_search_are_fused(tmp_path: Path) -> None:
    hybrid = Hybrid(searches=(Stage(limit=3), Stage(using=BM25, limit=3)), limit=2)
    with EdgeSource.create(tmp_path / "index", FRUIT, embed, keywords=True):
        pass
    with EdgeSource(tmp_path / "index", embed, [Stage(using=BM25)]) as keywords:
        assert await ids(keywords, "flowering") == [["cherry"]]
        keywords.upsert([Document(id="date", text="date palms flower in deserts")])
        assert set((await ids(keywords, "flowering"))[-1]) == {"cherry", "date"}
    with EdgeSource(tmp_path / "index", embed, [hybrid]) as fused:
        (event,) = [event async for event in fused.stream("warm valleys banana")]
        assert event.documents[0].id == "banana"
        assert len(event.documents) == 2


async def test_an_index_without_keywords_says_so(source: EdgeSource, tmp_path: Path) -> None:
    source.close()
    with (
        EdgeSource(tmp_path / "index", embed, [Stage(using=BM25)]) as dense_only,
        pytest.raises(VectorMismatchError, match="Not existing vector name error: bm25"),
    ):
        await ids(dense_only, "apple")


async def test_another_embedding_than_the_index_was_made_with(
    source: EdgeSource, tmp_path: Path
) -> None:
    source.close()
    with EdgeSource(tmp_path / "index", lambda texts: [[1.0, 2.0] for _ in texts]) as wrong:
        with pytest.raises(VectorMismatchError, match="expected dim: 64, got 2"):
            await ids(wrong, "apple")
        with pytest.raises(VectorMismatchError, match="expected dim: 64, got 2"):
            wrong.upsert(FRUIT)


class Words(Embeddings):
    """An embedding object of LangChain."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(value) for value in row] for row in embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class MockWords(MockEmbedding):
    """An embedding object of LlamaIndex."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return Words().embed_query(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return Words().embed_query(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return Words().embed_query(query)


@pytest.mark.parametrize("embedding", [Words(), MockWords(embed_dim=SIZE)])
async def test_embedding_objects_of_the_frameworks(tmp_path: Path, embedding: Any) -> None:
    with EdgeSource.create(tmp_path / "index", FRUIT, embedding) as source:
        assert (await ids(source, "warm banana valleys"))[0][0] == "banana"


def test_opening_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(IndexNotFoundError, match=r"make one with EdgeSource\.create"):
            EdgeSource(path, embed)


def test_opening_what_is_open(tmp_path: Path, source: EdgeSource) -> None:
    with pytest.raises(IndexInUseError, match="close that one"):
        EdgeSource(tmp_path / "index", embed)


def test_an_index_is_one_collection(tmp_path: Path) -> None:
    for stage in (Stage(collection="x"), Hybrid(searches=(Stage(), Stage(collection="x")))):
        with pytest.raises(ValueError, match=r"merge\(\) several"):
            EdgeSource(tmp_path, embed, [stage])


def test_an_index_is_not_overwritten(tmp_path: Path, source: EdgeSource) -> None:
    with pytest.raises(ContextSourceError, match="already contains"):
        EdgeSource.create(tmp_path / "index", FRUIT, embed)


def test_nothing_to_index(tmp_path: Path) -> None:
    with pytest.raises(ContextSourceError, match="no documents"):
        EdgeSource.create(tmp_path / "index", [], embed)
    with pytest.raises(ValueError, match="at least one stage"):
        EdgeSource(tmp_path / "index", embed, [])


async def test_errors_while_searching_are_typed(tmp_path: Path, source: EdgeSource) -> None:
    source.close()
    with pytest.raises(ContextSourceError, match="EdgeSource"):
        await ids(source, "apple")
    keys = PayloadKeys(text="page_content")
    with (
        EdgeSource(tmp_path / "index", embed, payload_keys=keys) as wrong,
        pytest.raises(ContextSourceError, match="page_content"),
    ):
        await ids(wrong, "apple")


async def test_a_failing_embedding_is_typed(tmp_path: Path, source: EdgeSource) -> None:
    source.close()
    with (
        EdgeSource(tmp_path / "index", lambda texts: 1 / 0) as broken,
        pytest.raises(ContextSourceError, match="embedding the query"),
    ):
        await ids(broken, "apple")
