import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge
from numpy.typing import NDArray

from qdrant_stream2llm import EdgeSource, PayloadKeys, Stage
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


async def test_a_filter_applies_to_every_stage(tmp_path: Path, source: EdgeSource) -> None:
    source.close()
    page = qdrant_edge.FieldCondition(key="metadata.page", match=qdrant_edge.MatchValue(value=2))
    only = qdrant_edge.Filter(must=[page])
    with EdgeSource(tmp_path / "index", embed, query_filter=only) as filtered:
        assert await ids(filtered, "apple trees") == [["banana"]]


async def test_stages_are_updates_when_the_ranking_changes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, SIZE)).astype(np.float32)
    documents = [Document(id=str(number), text=str(number)) for number in range(len(vectors))]
    stages = [
        Stage(limit=10, hnsw_ef=10, rescore=False),
        Stage(limit=10, exact=True, rescore=True),
        Stage(limit=10, exact=True, rescore=True),
    ]

    def lookup(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([vectors[int(text)] for text in texts])

    with EdgeSource.create(tmp_path / "i", documents, lookup, stages, quantized=True) as source:
        kinds = set()
        for number in range(20):
            events = [event async for event in source.stream(str(number))]
            kinds.add(tuple(type(event) for event in events))
            exact = np.argsort(-_cosine(vectors, vectors[number]))[:10]
            assert [document.id for document in events[-1].documents] == [str(i) for i in exact]
    assert (Append, Update) in kinds
    assert kinds <= {(Append,), (Append, Update)}


def _cosine(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return np.asarray(vectors @ query / norms)


async def test_searches_run_beside_each_other(source: EdgeSource) -> None:
    queries = ["apple orchards", "banana valleys", "cherry spring"] * 10
    found = await asyncio.gather(*(ids(source, query) for query in queries))
    assert [result[0][0] for result in found] == ["apple", "banana", "cherry"] * 10


def test_opening_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ContextSourceError, match="opening the index"):
        EdgeSource(tmp_path / "missing", embed)


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
