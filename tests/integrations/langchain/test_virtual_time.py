"""What overlap is worth, reckoned exactly: one second between documents, 0.8 s to compute each."""

import asyncio
from operator import itemgetter
from typing import Any

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from langchain_stream2llm import (
    ChatStream2LLM,
    StreamingChatPromptTemplate,
    StreamingRetriever,
    create_streaming_rag_chain,
)
from tests.integrations.langchain.calls import call
from tests.integrations.langchain.fakes import docs
from tests.integrations.langchain.stand_ins import AsyncBackwards
from tests.integrations.langchain.timed_engine import TimedEngine
from tests.support import virtual_time

PROMPT = ChatPromptTemplate.from_template("{context}{question}")
INPUT = {"question": "?" * (100 - len("</user><assistant>"))}
PREFIX_S, DOCUMENT_S, SUFFIX_S = len("<user>") / 1000, 0.8, 0.1


class SteadyRetriever(StreamingRetriever):
    """A document a second."""

    count: int = 3

    async def _astream_documents(self, query: str, *, run_manager: Any) -> Any:
        for number in range(self.count):
            await asyncio.sleep(1)
            yield docs(str(number) * 800)


@pytest.fixture
def engine() -> TimedEngine:
    return TimedEngine()


def chain_of(engine: TimedEngine, retriever: StreamingRetriever, **options: Any) -> Any:
    return create_streaming_rag_chain(
        retriever, PROMPT, ChatStream2LLM(engine=engine), document_separator="", **options
    )


def first_token_s(engine: TimedEngine, chain: Runnable[Any, Any], how: str) -> float:
    virtual_time.run(call(chain, how, INPUT))
    return engine.first_token_s


EVERY_ASYNC = pytest.mark.parametrize("how", ["ainvoke", "abatch", "astream"])


@EVERY_ASYNC
def test_an_ordinary_chain_computes_everything_at_the_end(engine: TimedEngine, how: str) -> None:
    found = itemgetter("question") | SteadyRetriever() | RunnableLambda(_joined)
    chain = RunnablePassthrough.assign(context=found) | PROMPT | ChatStream2LLM(engine=engine)
    assert first_token_s(engine, chain, how) == pytest.approx(
        3 + PREFIX_S + 3 * DOCUMENT_S + SUFFIX_S
    )


def _joined(documents: list[Any]) -> str:
    return "".join(document.page_content for document in documents)


@EVERY_ASYNC
@pytest.mark.parametrize("return_sources", [False, True])
def test_a_streaming_chain_has_the_last_document_left(
    engine: TimedEngine, how: str, return_sources: bool
) -> None:
    chain = chain_of(engine, SteadyRetriever(), return_sources=return_sources)
    assert first_token_s(engine, chain, how) == pytest.approx(3 + DOCUMENT_S + SUFFIX_S)


def test_so_has_the_textbook_chain_when_it_is_streamed(engine: TimedEngine) -> None:
    prompt = StreamingChatPromptTemplate(prompt=PROMPT, document_separator="")
    found = itemgetter("question") | SteadyRetriever()
    chain = RunnablePassthrough.assign(context=found) | prompt | ChatStream2LLM(engine=engine)
    assert first_token_s(engine, chain, "astream") == pytest.approx(3 + DOCUMENT_S + SUFFIX_S)


@EVERY_ASYNC
def test_a_time_limit_bounds_the_wait(engine: TimedEngine, how: str) -> None:
    """Two documents come in time, and have been computed when it is over."""
    chain = chain_of(engine, SteadyRetriever(count=100).with_time_limit(2.9))
    assert first_token_s(engine, chain, how) == pytest.approx(2.9 + SUFFIX_S)


@EVERY_ASYNC
def test_only_the_limited_one_of_several_is_cut_short(engine: TimedEngine, how: str) -> None:
    endless = SteadyRetriever(count=100).with_time_limit(1.5)
    merged = StreamingRetriever.merge(endless, SteadyRetriever())
    # The first documents of both are the same text, which is there once.
    assert first_token_s(engine, chain_of(engine, merged), how) == pytest.approx(
        3 + DOCUMENT_S + SUFFIX_S
    )


@EVERY_ASYNC
def test_the_first_stage_is_computed_while_the_reranker_runs(engine: TimedEngine, how: str) -> None:
    class Slow(AsyncBackwards):
        async def acompress_documents(
            self, documents: Any, query: str, callbacks: Any = None
        ) -> Any:
            await asyncio.sleep(5)
            return documents

    chain = chain_of(engine, SteadyRetriever().with_reranker(Slow()))
    assert first_token_s(engine, chain, how) == pytest.approx(3 + 5 + SUFFIX_S)
