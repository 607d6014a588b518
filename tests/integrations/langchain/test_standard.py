"""LangChain's own test suites, as far as they need no model."""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_stream2llm import ChatStream2LLM, StreamingRetriever
from tests.integrations.langchain.fakes import docs


class CountingRetriever(StreamingRetriever):
    """As many documents as asked for, one by one."""

    k: int = 4

    async def _astream_documents(
        self, query: str, *, run_manager: Any, k: int | None = None
    ) -> Any:
        for number in range(k or self.k):
            yield docs(f"{query} {number}")


class TestChatModel(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatStream2LLM

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "some/model"}


class TestRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return CountingRetriever

    @property
    def retriever_query_example(self) -> str:
        return "query"
