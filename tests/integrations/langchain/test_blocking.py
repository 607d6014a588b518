"""Nothing that runs on an event loop blocks it."""

import queue
import threading
import time
from concurrent.futures import Future
from operator import itemgetter
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough

from langchain_stream2llm import (
    ChatStream2LLM,
    StreamingChatPromptTemplate,
    StreamingRetriever,
    create_streaming_rag_chain,
)
from stream2llm_engine import EngineDeadError
from tests.integrations.langchain.calls import INPUT, call
from tests.integrations.langchain.fakes import FakeEngine, ScriptedRetriever, docs
from tests.integrations.langchain.stand_ins import Backwards, ListRetriever, PagesLoader
from tests.support.blocking import BlockingError, no_blocking_calls


class Sleepy(ListRetriever):
    """Blocks, as clients without an asynchronous interface do."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
        time.sleep(0.001)
        return super()._get_relevant_documents(query, run_manager=run_manager)


class SleepyLoader(PagesLoader):
    def lazy_load(self) -> Any:
        for page in super().lazy_load():
            time.sleep(0.001)
            yield page


class SleepyReranker(Backwards):
    def compress_documents(self, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.001)
        return super().compress_documents(*args, **kwargs)


def _ensemble() -> Any:
    members = [Sleepy(), ScriptedRetriever(deltas=[docs("one")])]
    return EnsembleRetriever(retrievers=members, weights=[0.5, 0.5])


RETRIEVERS: dict[str, Any] = {
    "wrapped": Sleepy,
    "loader": lambda: SleepyLoader("one", "two"),
    "merged": lambda: StreamingRetriever.merge(Sleepy(), SleepyLoader("one")),
    "limited": lambda: StreamingRetriever.wrap(Sleepy()).with_time_limit(60),
    "reranked": lambda: StreamingRetriever.wrap(Sleepy()).with_reranker(SleepyReranker()),
    "ensemble": _ensemble,
    "compression": lambda: ContextualCompressionRetriever(
        base_compressor=SleepyReranker(), base_retriever=_ensemble()
    ),
}


@pytest.mark.parametrize("how", ["ainvoke", "abatch", "astream"])
@pytest.mark.parametrize("kind", RETRIEVERS)
async def test_retrievers_do_not_block(kind: str, how: str) -> None:
    retriever = StreamingRetriever.wrap(RETRIEVERS[kind]())
    with no_blocking_calls():
        assert await call(retriever, how, "q")


@pytest.mark.parametrize("how", ["ainvoke", "abatch", "astream"])
@pytest.mark.parametrize("return_sources", [False, True])
async def test_chains_do_not_block(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, how: str, return_sources: bool
) -> None:
    chain = create_streaming_rag_chain(
        StreamingRetriever.merge(Sleepy(), ScriptedRetriever(deltas=[docs("one")])),
        prompt,
        llm,
        return_sources=return_sources,
    )
    await call(chain, how)  # imports what is imported at the first call
    with no_blocking_calls():
        assert await call(chain, how)
        assert [event async for event in chain.astream_events(INPUT, version="v2")]


async def test_the_textbook_chain_does_not_block(llm: ChatStream2LLM) -> None:
    prompt = StreamingChatPromptTemplate.from_template("{context} {question}")
    found = itemgetter("question") | StreamingRetriever.wrap(Sleepy())
    chain: Runnable[Any, Any] = RunnablePassthrough.assign(context=found) | prompt | llm
    for how in ("ainvoke", "abatch", "astream"):
        await call(chain, how)
        with no_blocking_calls():
            assert await call(chain, how)


async def test_waiting_for_another_model_does_not_block(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    engine.fail_open = EngineDeadError("gone")
    fallback = llm.with_fallbacks([GenericFakeChatModel(messages=iter(["fine"] * 2))])
    chain = create_streaming_rag_chain(Sleepy(), prompt, fallback)
    await call(chain, "ainvoke")
    with no_blocking_calls():
        assert (await call(chain, "ainvoke")).text == "fine"


# -- the detector itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        lambda: threading.Event().wait(1),
        lambda: Future[int]().result(1),
    ],
    ids=["event", "future"],
)
async def test_waiting_for_a_thread_is_found(block: Any) -> None:
    with no_blocking_calls(), pytest.raises(BlockingError):
        block()


async def test_blocking_inside_our_own_code_is_found() -> None:
    class Careless(StreamingRetriever):
        async def _astream_documents(self, query: str, *, run_manager: Any) -> Any:
            if query == "sleep":
                time.sleep(0.001)  # noqa: ASYNC251 - that is the point
            queue.SimpleQueue[int]().get(timeout=0.001)
            yield docs("never")

    with no_blocking_calls():
        for query in ("sleep", "queue"):
            with pytest.raises(BlockingError):
                await Careless().ainvoke(query)


async def test_a_lock_that_is_held_for_a_moment_is_no_wait() -> None:
    lock = threading.Lock()
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.01, release.set).start()
    with no_blocking_calls(), lock:
        pass
    thread.join()
