"""``StreamingRetriever.wrap``: retrievers that answer at once, and document loaders."""

import asyncio
import threading
from typing import Any, cast

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.runnables import RunnableLambda

from langchain_stream2llm import DocumentDelta, StreamingRetriever
from stream2llm_engine import UnsupportedFeatureError
from stream2llm_rag import ContextSourceError
from tests.integrations.langchain.calls import EVERY_RETRIEVAL, call
from tests.integrations.langchain.fakes import Recorder, ScriptedRetriever, docs
from tests.integrations.langchain.stand_ins import (
    AsyncPagesLoader,
    CountingRetriever,
    ListRetriever,
    PagesLoader,
    texts,
)


@EVERY_RETRIEVAL
async def test_a_wrapped_retriever_stays_one_run(how: str) -> None:
    recorder = Recorder()
    wrapped = StreamingRetriever.wrap(ListRetriever())
    documents = await call(wrapped, how, "q", {"callbacks": [recorder]})
    assert texts(documents) == ["about q", "more"]
    assert recorder.names == ["retriever_start", "retriever_end"]


async def test_a_wrapped_retriever_has_the_generator_too() -> None:
    wrapped = StreamingRetriever.wrap(ListRetriever())
    assert [type(delta) async for delta in wrapped.astream("q")] == [DocumentDelta]
    manager = AsyncCallbackManagerForRetrieverRun.get_noop_manager()
    (found,) = [delta async for delta in wrapped._astream_documents("q", run_manager=manager)]
    assert texts(found) == ["about q", "more"]
    assert StreamingRetriever.wrap(wrapped) is wrapped


@EVERY_RETRIEVAL
async def test_a_retriever_that_only_blocks_runs_in_a_thread_of_its_own(how: str) -> None:
    retriever = ListRetriever()
    await call(StreamingRetriever.wrap(retriever), how, "q")
    (thread,) = retriever.threads
    # A synchronous call stays in the caller's thread, which is the test's `to_thread`.
    expected = "asyncio" if how in ("invoke", "stream") else "stream2llm-source"
    assert thread.startswith(expected)


async def test_slow_retrievers_do_not_keep_each_other_waiting() -> None:
    """LangChain calls them in the event loop's few threads, of which there are 32 at most."""
    together = threading.Barrier(40)

    class Meeting(ListRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
            together.wait(20)
            return self.documents

    wrapped = StreamingRetriever.wrap(Meeting())
    found = await asyncio.gather(*(wrapped.ainvoke("q") for _ in range(40)))
    assert len(found) == 40


@EVERY_RETRIEVAL
async def test_a_retriever_without_an_asynchronous_method_is_called_as_it_can_be(how: str) -> None:
    class Half(ListRetriever):
        async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
            raise NotImplementedError

    assert len(await call(StreamingRetriever.wrap(Half()), how, "q")) == 2


@EVERY_RETRIEVAL
async def test_its_errors_are_its_own(how: str) -> None:
    class Broken(ListRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
            raise ConnectionError("index gone")

    recorder = Recorder()
    with pytest.raises(ConnectionError, match="index gone"):
        await call(StreamingRetriever.wrap(Broken()), how, "q", {"callbacks": [recorder]})
    assert recorder.names == ["retriever_start", "retriever_error"]


class OldStyle(ListRetriever):
    """LangChain still takes retrievers without callbacks."""

    def _get_relevant_documents(self, query: str) -> Any:  # type: ignore[override]
        self.threads.append(threading.current_thread().name)
        return self.documents


async def test_an_old_retriever_runs_in_a_thread_of_its_own_too() -> None:
    retriever = OldStyle()
    assert len(await StreamingRetriever.wrap(retriever).ainvoke("q")) == 2
    assert retriever.threads[0].startswith("stream2llm-source")


@EVERY_RETRIEVAL
async def test_how_many_it_shall_find_reaches_it_whatever_is_around_it(how: str) -> None:
    for retriever in (CountingRetriever(), CountingRetriever().with_config(tags=["t"])):
        assert len(await call(StreamingRetriever.wrap(retriever), how, "q", k=15)) == 15
    # One that does not know the option finds what it finds; the first ones are returned.
    few: list[Any] = [ListRetriever(), RunnableLambda(lambda q: docs(q, q))]
    for short in few:
        assert len(await call(StreamingRetriever.wrap(short), how, "q", k=1)) == 1


@EVERY_RETRIEVAL
async def test_a_bound_streaming_retriever_still_streams(how: str) -> None:
    bound = ScriptedRetriever(deltas=[docs(a="A"), DocumentDelta(docs(b="B"), retract=["a"])])
    wrapped = StreamingRetriever.wrap(bound.with_config(tags=["t"]))
    assert texts(await call(wrapped, how, "q")) == ["B"]
    assert len([delta async for delta in wrapped.astream("q")]) == 2


def test_something_else_is_refused() -> None:
    with pytest.raises(UnsupportedFeatureError, match="from_source"):
        StreamingRetriever.wrap(cast("Any", object()))


# -- document loaders -----------------------------------------------------------------------------


@EVERY_RETRIEVAL
@pytest.mark.parametrize("loader", [PagesLoader("one", "two"), AsyncPagesLoader("one", "two")])
async def test_a_loader_streams_page_by_page(loader: PagesLoader, how: str) -> None:
    retriever = StreamingRetriever.wrap(loader)
    recorder = Recorder()
    assert texts(await call(retriever, how, "q", {"callbacks": [recorder]})) == ["one", "two"]
    assert recorder.names == ["retriever_start", "retriever_end"]
    assert [texts(delta) async for delta in retriever.astream("q")] == [["one"], ["two"]]


async def test_a_loader_runs_where_it_can() -> None:
    blocking, native = PagesLoader("one", "two"), AsyncPagesLoader("one", "two")
    for loader in (blocking, native):
        await StreamingRetriever.wrap(loader).ainvoke("q")
    assert blocking.threads == {"stream2llm-source"}
    assert native.threads == {threading.current_thread().name}


async def test_a_loader_that_fails_is_named() -> None:
    class Broken(PagesLoader):
        def lazy_load(self) -> Any:
            yield from super().lazy_load()
            msg = "no such page"
            raise OSError(msg)

    retriever = StreamingRetriever.wrap(Broken("one"))
    with pytest.raises(ContextSourceError, match=r"Broken.*no such page") as failure:
        await retriever.ainvoke("q")
    assert isinstance(failure.value.__cause__, OSError)
