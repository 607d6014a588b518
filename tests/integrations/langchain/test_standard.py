"""LangChain's own test suite of retrievers."""

from typing import Any

from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_stream2llm import StreamingRetriever
from tests.integrations.langchain.fakes import docs


class CountingRetriever(StreamingRetriever):
    """As many documents as asked for, one by one."""

    k: int = 4

    async def _astream_documents(
        self, query: str, *, run_manager: Any, k: int | None = None
    ) -> Any:
        for number in range(k or self.k):
            yield docs(f"{query} {number}")


class TestRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return CountingRetriever

    @property
    def retriever_query_example(self) -> str:
        return "query"
