import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig

from langchain_stream2llm import DocumentDelta, StreamingRetriever
from stream2llm_rag import Append, Document, Update
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.sources import replay
from tests.integrations.langchain.fakes import Recorder, ScriptedRetriever, docs, eventually


class ListRetriever(BaseRetriever):
    """An ordinary retriever."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
        return docs(f"about {query}", "more")


def texts(documents: Sequence[Any]) -> Any:
    return [document.page_content for document in documents]


@pytest.fixture
def retriever() -> ScriptedRetriever:
    return ScriptedRetriever(
        deltas=[docs(a="A", b="B"), DocumentDelta(docs(b="B2"), retract=["a"]), docs("end")]
    )


async def call(
    retriever: BaseRetriever, how: str, config: RunnableConfig | None = None, **kwargs: Any
) -> Any:
    """Returns the documents of one retrieval."""
    match how:
        case "invoke":
            return await asyncio.to_thread(retriever.invoke, "q", config, **kwargs)
        case "ainvoke":
            return await retriever.ainvoke("q", config, **kwargs)
        case "stream":
            chunks = await asyncio.to_thread(lambda: list(retriever.stream("q", config, **kwargs)))
        case _:
            chunks = [chunk async for chunk in retriever.astream("q", config, **kwargs)]
    return sum(chunks, DocumentDelta())


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_every_method_gives_the_same_documents_and_one_run(
    retriever: ScriptedRetriever, how: str
) -> None:
    recorder = Recorder()
    assert texts(await call(retriever, how, {"callbacks": [recorder]})) == ["B2", "end"]
    assert recorder.names == ["retriever_start", "retriever_end"]
    assert texts(recorder.documents) == ["B2", "end"]


async def test_streamed_documents_come_one_delta_at_a_time(retriever: ScriptedRetriever) -> None:
    async for _ in retriever.astream("q"):
        break
    assert retriever.emitted == [0]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_an_error_reaches_the_caller_and_the_callbacks_once(how: str) -> None:
    recorder = Recorder()
    retriever = ScriptedRetriever(deltas=[docs("a"), ValueError("index gone")])
    with pytest.raises(ValueError, match="index gone"):
        await call(retriever, how, {"callbacks": [recorder]})
    assert recorder.names == ["retriever_start", "retriever_error"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_keyword_arguments_reach_a_generator_that_takes_them(how: str) -> None:
    retriever = ScriptedRetriever(deltas=[docs("a", "b")])
    assert texts(await call(retriever, how, k=1, unknown=2)) == ["a"]


async def test_leaving_the_stream_early_stops_the_search() -> None:
    retriever = ScriptedRetriever(deltas=[docs("a"), asyncio.Event(), docs("b")])
    recorder = Recorder()
    stream = retriever.astream("q", {"callbacks": [recorder]})
    await anext(stream)
    await stream.aclose()
    assert retriever.closed == ["q"]
    assert recorder.names == ["retriever_start", "retriever_error"]


def test_leaving_the_synchronous_stream_early_stops_the_search() -> None:
    retriever = ScriptedRetriever(deltas=[docs("a"), asyncio.Event(), docs("b")])
    stream: Any = retriever.stream("q")
    assert texts(next(stream)) == ["a"]
    stream.close()
    eventually(lambda: retriever.closed == ["q"])


async def test_a_retriever_that_waits_for_itself_is_told_so() -> None:
    class Nested(StreamingRetriever):
        async def _astream_documents(self, query: str, *, run_manager: Any) -> Any:
            yield ScriptedRetriever(deltas=[docs("a")]).invoke(query)

    with pytest.raises(RuntimeError, match="await"):
        await asyncio.to_thread(Nested().invoke, "q")
    assert texts(await Nested().ainvoke("q")) == ["a"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_wrapped_retriever_stays_one_run(how: str) -> None:
    recorder = Recorder()
    wrapped = StreamingRetriever.wrap(ListRetriever())
    assert texts(await call(wrapped, how, {"callbacks": [recorder]})) == ["about q", "more"]
    assert recorder.names == ["retriever_start", "retriever_end"]


async def test_a_wrapped_retriever_has_the_generator_too() -> None:
    wrapped = StreamingRetriever.wrap(ListRetriever())
    assert [type(delta) async for delta in wrapped.astream("q")] == [DocumentDelta]
    assert StreamingRetriever.wrap(wrapped) is wrapped


def core(*names: str) -> Any:
    return tuple(Document(id=name.lower(), text=name, score=1.0) for name in names)


@pytest.mark.parametrize(
    ("order", "expected"), [("stable", ["B", "C", "A2"]), ("rank", ["C", "A2", "B"])]
)
async def test_a_source_keeps_its_order_or_its_ranking(
    order: DocumentOrder, expected: list[str]
) -> None:
    changed = Document(id="a2", text="A2")
    source = replay(
        [
            (0, Append(documents=core("X", "B"))),
            (0, Append(documents=core("C"))),
            (0, Update(documents=(*core("C"), changed, *core("B")))),
        ]
    )
    retriever = StreamingRetriever.from_source(source, order=order)
    deltas = [delta async for delta in retriever.astream("q")]
    assert texts(deltas[1]) == ["C"]
    assert texts(sum(deltas, DocumentDelta())) == expected
    assert deltas[0][0].metadata == {"score": 1.0}


async def test_a_source_may_change_a_documents_text() -> None:
    updated = Document(id="a", text="A2")
    source = replay(
        [(0, Append(documents=core("A", "B"))), (0, Update(documents=(updated, *core("B"))))]
    )
    deltas = [delta async for delta in StreamingRetriever.from_source(source).astream("q")]
    assert texts(deltas[1]) == ["A2"]
    assert texts(sum(deltas, DocumentDelta())) == ["A2", "B"]
