"""LangChain's own test suite, on every retriever there is."""

from typing import Any, ClassVar

from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_stream2llm._composed import (
    MergedRetriever,
    RerankedRetriever,
    SourceRetriever,
    TimeLimitedRetriever,
)
from langchain_stream2llm._ensemble import EnsembleStream
from langchain_stream2llm._wrapped import WrappedRetriever
from stream2llm_rag import Document, from_retriever
from tests.integrations.langchain.stand_ins import Backwards, CountingRetriever, ListRetriever

FOUR = ListRetriever(documents=CountingRetriever().invoke("other", k=4))


class _Suite(RetrieversIntegrationTests):
    constructor: ClassVar[type[BaseRetriever]]
    parameters: ClassVar[dict[str, Any]] = {}

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return self.constructor

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return self.parameters

    @property
    def retriever_query_example(self) -> str:
        return "query"


class TestOwn(_Suite):
    constructor = CountingRetriever


class TestWrapped(_Suite):
    constructor = WrappedRetriever
    parameters: ClassVar = {"retriever": FOUR}


class TestSource(_Suite):
    constructor = SourceRetriever
    parameters: ClassVar = {
        "source": from_retriever([Document.from_text(str(number)) for number in range(9)])
    }


class TestMerged(_Suite):
    constructor = MergedRetriever
    parameters: ClassVar = {"retrievers": [FOUR, CountingRetriever()]}


class TestReranked(_Suite):
    constructor = RerankedRetriever
    parameters: ClassVar = {"retriever": FOUR, "compressor": Backwards(keep=3)}


class TestTimeLimited(_Suite):
    constructor = TimeLimitedRetriever
    parameters: ClassVar = {"retriever": CountingRetriever(), "timeout_s": 60}


class TestEnsemble(_Suite):
    constructor = EnsembleStream
    parameters: ClassVar = {
        "ensemble": EnsembleRetriever(retrievers=[FOUR, CountingRetriever()], weights=[0.5, 0.5]),
        "retrievers": [FOUR, CountingRetriever()],
    }
