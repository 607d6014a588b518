"""LangChain's suite of chat models, with everything on that ours claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_stream2llm import ChatStream2LLM

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

__all__ = ["StandardSuite", "answered"]


class StandardSuite(ChatModelIntegrationTests):
    """A subclass gives ``chat_model_params`` with an adapter, and the two messages."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatStream2LLM

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "adapter"

    @property
    def supported_usage_metadata_details(self) -> Any:
        details = ["cache_read_input", "reasoning_output"]
        return {"invoke": details, "stream": details}


def answered(llm: ChatStream2LLM, text: str, *, stream: bool, **options: Any) -> AIMessage:
    """The message of one call, streamed or not."""
    if not stream:
        return llm.invoke(text, **options)
    chunks = list(llm.stream(text, **options))
    return sum(chunks[1:], chunks[0])
