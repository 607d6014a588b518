"""LangChain's own suite of the chat model, with everything on that it claims.

What is marked takes a model with skill; ``test_standard_chat_model`` has a script for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_stream2llm import ChatStream2LLM
from tests.integrations.langchain.standard import StandardSuite, answered

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

SKILL = pytest.mark.xfail(reason="takes a model that understands the question; weights are random")
BOTH_VERSIONS = pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)


class TestRandomWeights(StandardSuite):
    params: dict[str, Any]
    thinking: ChatStream2LLM

    @pytest.fixture(autouse=True)
    def _use(self, params: dict[str, Any], thinking: ChatStream2LLM) -> None:
        self.params = params
        self.thinking = thinking

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return self.params

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        llm = ChatStream2LLM(**self.params)
        question = "Which rivers are there? " * 30
        llm.invoke(question)
        message = answered(llm, question, stream=stream)
        assert message.usage_metadata is not None
        assert message.usage_metadata["input_token_details"]["cache_read"] > 0
        return message

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        message = answered(self.thinking, "Hm?", stream=stream)
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_token_details"]["reasoning"] > 0
        return message

    @SKILL
    @BOTH_VERSIONS
    def test_tool_calling(self, model: BaseChatModel) -> None:
        super().test_tool_calling(model)

    @SKILL
    async def test_tool_calling_async(self, model: BaseChatModel) -> None:
        await super().test_tool_calling_async(model)

    @SKILL
    def test_json_mode(self, model: BaseChatModel) -> None:
        super().test_json_mode(model)

    @SKILL
    @BOTH_VERSIONS
    def test_agent_loop(self, model: BaseChatModel) -> None:
        super().test_agent_loop(model)

    @SKILL
    def test_unicode_tool_call_integration(self, model: BaseChatModel, **options: Any) -> None:
        super().test_unicode_tool_call_integration(model, **options)
