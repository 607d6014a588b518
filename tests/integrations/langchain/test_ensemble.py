"""LangChain's own composite retrievers, taken apart."""

from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline

from langchain_stream2llm import DocumentDelta, StreamingRetriever
from stream2llm_rag import ContextSourceError
from stream2llm_rag.prompt import DocumentOrder
from tests.integrations.langchain.calls import EVERY_RETRIEVAL, call
from tests.integrations.langchain.fakes import Recorder, ScriptedRetriever, docs
from tests.integrations.langchain.stand_ins import (
    AsyncBackwards,
    Backwards,
    GatedRetriever,
    ListRetriever,
    texts,
)

DENSE = docs(a="A", b="B", c="C")
SPARSE = docs(c="C", d="D")


def ensemble(*members: Any) -> EnsembleRetriever:
    return EnsembleRetriever(retrievers=list(members), weights=[0.5, 0.5])


async def test_members_stream_as_they_land_and_the_fused_order_is_an_update() -> None:
    dense, sparse = GatedRetriever(deltas=[DENSE]), GatedRetriever(deltas=[SPARSE])
    stream = StreamingRetriever.wrap(ensemble(dense, sparse)).astream("q")
    sparse.gate.release()
    deltas = [await anext(stream)]
    assert texts(deltas[0]) == ["C", "D"]
    dense.gate.release()
    deltas += [delta async for delta in stream]
    assert [texts(delta) for delta in deltas[1:]] == [["A", "B"], ["D"]]
    assert deltas[2].retract == {"d"}, "only what has to move does"
    assert texts(sum(deltas, DocumentDelta())) == ["C", "A", "B", "D"]


@EVERY_RETRIEVAL
async def test_the_result_is_what_the_ensemble_itself_returns(how: str) -> None:
    plain = ensemble(ListRetriever(documents=DENSE), ListRetriever(documents=SPARSE))
    recorder = Recorder()
    found = await call(StreamingRetriever.wrap(plain), how, "q", {"callbacks": [recorder]})
    assert list(found) == plain.invoke("q")
    assert recorder.counts == {"retriever_start": 3, "retriever_end": 3}


@EVERY_RETRIEVAL
async def test_documents_without_ids_are_fused_by_their_text(how: str) -> None:
    plain = ensemble(
        ListRetriever(documents=docs("A", "B", "C")), ListRetriever(documents=docs("C", "D"))
    )
    found = await call(StreamingRetriever.wrap(plain), how, "q")
    assert texts(found) == texts(plain.invoke("q"))
    assert len({document.id for document in found}) == 4


async def test_stable_order_keeps_what_is_there() -> None:
    plain = ensemble(ListRetriever(documents=DENSE), GatedRetriever(deltas=[SPARSE]))
    wrapped = StreamingRetriever.wrap(plain, order="stable")
    stream = wrapped.astream("q")
    assert texts(await anext(stream)) == ["A", "B", "C"]
    plain.retrievers[1].gate.release()  # type: ignore[attr-defined]
    assert [(texts(delta), delta.retract) async for delta in stream] == [(["D"], frozenset())]


async def test_a_failed_member_fails_the_ensemble_as_it_does_in_langchain() -> None:
    broken = ScriptedRetriever(deltas=[ConnectionError("index gone")], name="dense")
    with pytest.raises(ContextSourceError, match=r"dense.*index gone"):
        await StreamingRetriever.wrap(ensemble(broken, ListRetriever())).ainvoke("q")


@EVERY_RETRIEVAL
@pytest.mark.parametrize("compressor", [Backwards(), Backwards(keep_ids=False)])
async def test_a_compression_retriever_gives_what_it_would_itself(
    compressor: Backwards, how: str
) -> None:
    plain = ContextualCompressionRetriever(
        base_compressor=DocumentCompressorPipeline(transformers=[compressor]),
        base_retriever=ListRetriever(documents=DENSE),
    )
    found = await call(StreamingRetriever.wrap(plain), how, "q")
    assert texts(found) == texts(plain.invoke("q")) == ["C", "B"]
    assert [document.id for document in found] == ["c", "b"]


@pytest.mark.parametrize(
    ("order", "retracted"), [("rank", {"a", "b"}), ("stable", {"a"})], ids=["rank", "stable"]
)
async def test_a_compression_retriever_streams_before_it_compresses(
    order: DocumentOrder, retracted: set[str]
) -> None:
    reranker = AsyncBackwards()
    plain = ContextualCompressionRetriever(
        base_compressor=reranker, base_retriever=ListRetriever(documents=DENSE)
    )
    stream = StreamingRetriever.wrap(plain, order=order).astream("q")
    assert texts(await anext(stream)) == ["A", "B", "C"]
    reranker.gate.set()
    (last,) = [delta async for delta in stream]
    assert last.retract == retracted


async def test_a_hybrid_search_with_a_reranker_streams_every_stage() -> None:
    """The usual stack: two searches, rank fusion, a reranker."""
    hybrid = ensemble(ListRetriever(documents=DENSE), ListRetriever(documents=SPARSE))
    plain = ContextualCompressionRetriever(base_compressor=Backwards(), base_retriever=hybrid)
    wrapped = StreamingRetriever.wrap(plain)
    deltas = [delta async for delta in wrapped.astream("q")]
    assert len(deltas) == 4
    assert texts(sum(deltas, DocumentDelta())) == texts(plain.invoke("q"))
