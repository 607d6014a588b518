"""LangChain's own suites of the chat model, with everything on that it claims.

``real_model/test_standard`` runs the second one on a real engine, whose random weights leave out
what takes skill. Here a script has the skill.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_stream2llm import ChatStream2LLM
from tests.integrations.langchain.scripted import ScriptedEngine
from tests.integrations.langchain.standard import StandardSuite, answered
from tests.support.chat_llama import REASONING_PARSER, TOOL_CALL_PARSER

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

THINK = "Think hard."
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "magic_function(3)": ("magic_function", {"input": 3}),
    "magic_function_no_args()": ("magic_function_no_args", {}),
    "Pirate greeting": ("greeting_generator", {"answer_style": "Pirate"}),
    "Hello!": ("magic_function", {"input": 1}),
    "San Francisco": ("get_weather", {"location": "San Francisco"}),
    "What is 3 + 4": ("my_adder_tool", {"a": 3, "b": 4}),
    "你好啊集团": ("unicode_customer", {"customer_name": "你好啊集团", "description": "d"}),
    "こんにちは株式会社": ("unicode_customer", {"customer_name": "こんにちは株式会社"}),
}


def skilled(prompt: str) -> str:
    """What a model with skill would answer in the suite."""
    turn = prompt.rsplit("<|user|>\n", 1)[-1]
    if THINK in turn:
        return "Well, well.\n</think>\n\nDone."
    if "joke" in turn:
        return json.dumps({"setup": "Why?", "punchline": "So!"})
    for question, (name, arguments) in CALLS.items():
        if question in turn and name in prompt and "<|tool|>" not in turn:
            call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
            return f"<tool_call>\n{call}\n</tool_call>"
    return "Hi there."


class TestUnits(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatStream2LLM

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "some/model"}

    @property
    def supports_json_mode(self) -> bool:
        return True


class TestSkilled(StandardSuite):
    tokenizer: Any

    @pytest.fixture(autouse=True)
    def _use(self, chat_tokenizer: Any) -> None:
        self.tokenizer = chat_tokenizer

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "engine": ScriptedEngine(self.tokenizer, skilled, reasoning_parser=REASONING_PARSER),
            "tool_call_parser": TOOL_CALL_PARSER,
            "lora_adapters": {"adapter": "/adapter"},
        }

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return answered(ChatStream2LLM(**self.chat_model_params), "Hello", stream=stream)

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        llm = ChatStream2LLM(**self.chat_model_params)
        thinking = {"enable_thinking": True}
        message = answered(llm, THINK, stream=stream, chat_template_kwargs=thinking)
        assert message.text.strip() == "Done."
        assert message.content_blocks[0]["type"] == "reasoning"
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_token_details"]["reasoning"] > 0
        return message
