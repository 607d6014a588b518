"""The base class: one generator, every LangChain method."""

import asyncio
import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_stream2llm import DocumentDelta, StreamingRetriever
from langchain_stream2llm._top import Top
from stream2llm_engine import InvalidRequestError
from tests.integrations.langchain.calls import EVERY_RETRIEVAL, call, chunks_of
from tests.integrations.langchain.fakes import Recorder, ScriptedRetriever, docs, eventually
from tests.integrations.langchain.stand_ins import CountingRetriever, texts


@pytest.fixture
def retriever() -> ScriptedRetriever:
    return ScriptedRetriever(
        deltas=[docs(a="A", b="B"), DocumentDelta(docs(b="B2"), retract=["a"]), docs("end")]
    )


@EVERY_RETRIEVAL
async def test_every_method_gives_the_same_documents_and_one_run(
    retriever: ScriptedRetriever, how: str
) -> None:
    recorder = Recorder()
    assert texts(await call(retriever, how, "q", {"callbacks": [recorder]})) == ["B2", "end"]
    assert recorder.names == ["retriever_start", "retriever_end"]
    assert texts(recorder.documents) == ["B2", "end"]


async def test_streamed_documents_come_one_delta_at_a_time(retriever: ScriptedRetriever) -> None:
    async for _ in retriever.astream("q"):
        break
    assert retriever.emitted == [0]


@EVERY_RETRIEVAL
async def test_a_search_that_finds_nothing_gives_an_empty_list(how: str) -> None:
    assert await call(ScriptedRetriever(deltas=[]), how, "q") == []


@EVERY_RETRIEVAL
async def test_an_error_reaches_the_caller_and_the_callbacks_once(how: str) -> None:
    recorder = Recorder()
    retriever = ScriptedRetriever(deltas=[docs("a"), ValueError("index gone")])
    with pytest.raises(ValueError, match="index gone"):
        await call(retriever, how, "q", {"callbacks": [recorder]})
    assert recorder.names == ["retriever_start", "retriever_error"]


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


# -- options of a call ----------------------------------------------------------------------------


class OptionsRetriever(StreamingRetriever):
    async def _astream_documents(self, query: str, *, run_manager: Any, **options: Any) -> Any:
        yield docs(str(sorted(options.items())))


@EVERY_RETRIEVAL
async def test_options_reach_a_generator_that_takes_them_and_no_other(how: str) -> None:
    counting = CountingRetriever()
    assert texts(await call(counting, how, "q", k=1, unknown=2)) == ["q 0"]
    assert texts(await call(OptionsRetriever(k=3), how, "q", unit="m")) == [
        "[('k', 3), ('unit', 'm')]"
    ]


class RankingRetriever(StreamingRetriever):
    """Knows nothing of ``k``."""

    async def _astream_documents(self, query: str, *, run_manager: Any) -> Any:
        yield docs(a="A", b="B")
        yield DocumentDelta(docs(b="B2"), retract=["a"])
        yield docs("end")


@EVERY_RETRIEVAL
async def test_only_the_first_k_documents_are_there_at_any_time(how: str) -> None:
    retriever = RankingRetriever(k=1)
    assert texts(await call(retriever, how, "q")) == ["B2"]
    assert texts(await call(retriever, how, "q", k=2)) == ["B2", "end"]
    if how.endswith("stream"):
        deltas = await chunks_of(retriever, how, "q")
        assert [texts(delta) for delta in deltas] == [["A"], ["B2"]]
        assert deltas[1].retract == {"a"}


async def test_a_k_that_makes_no_sense_is_an_error(retriever: ScriptedRetriever) -> None:
    with pytest.raises(InvalidRequestError, match="at least 1"):
        await retriever.ainvoke("q", k=0)


# Ids are unique in each list, as a retriever's are, and texts do not repeat.
_lists = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=5, unique=True)
_deltas = st.lists(
    st.tuples(_lists, st.frozensets(st.sampled_from("abcd")), st.integers(0, 9)), max_size=6
)


@given(_deltas, st.integers(1, 4))
def test_top_k_deltas_add_up_to_the_first_k(steps: list[Any], k: int) -> None:
    top, everything, shown = Top(k), DocumentDelta(), DocumentDelta()
    for number, (ids, retract, version) in enumerate(steps):
        found = [
            Document(id=name, page_content=f"{name} {version if name else number}") for name in ids
        ]
        delta = DocumentDelta(found, retract=retract)
        everything += delta
        shown += top.take(delta)
        assert list(shown) == everything[:k]


def test_a_delta_can_be_copied_and_stored() -> None:
    delta = DocumentDelta(docs(a="A"), retract=["b"])
    for same in (copy.deepcopy(delta), copy.copy(delta), pickle.loads(pickle.dumps(delta))):
        assert same == delta
        assert same.retract == delta.retract
