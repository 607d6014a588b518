"""LlamaIndex messages as a chat template reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock

from stream2llm_engine.errors import InvalidRequestError, UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["as_conversation", "fill_in", "tool_calls_of"]

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
# Named by their types: the oldest supported LlamaIndex does not have all of these classes.
_TOOL_CALL = "tool_call"
_NOT_FOR_THE_MODEL = frozenset({"thinking", "cache"})


def as_conversation(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Converts messages to what chat templates know: role, text, tool calls and their results.

    Raises:
        InvalidRequestError: The arguments of a tool call are no JSON object.
        UnsupportedFeatureError: A message holds something other than text.
    """
    return [_as_template_message(message) for message in messages]


def tool_calls_of(message: ChatMessage) -> list[dict[str, Any]]:
    """Returns a message's tool calls in OpenAI's form, the arguments as JSON text."""
    calls = list(message.additional_kwargs.get("tool_calls") or ())
    if not calls:
        calls = [_from_block(block) for block in message.blocks if _kind(block) == _TOOL_CALL]
    for call in calls:
        if not isinstance(call, dict):
            msg = f"tool calls have to be dictionaries in OpenAI's form, not {type(call).__name__}"
            raise UnsupportedFeatureError(msg)
    return calls


def fill_in(messages: Sequence[ChatMessage], placeholder: str, text: str) -> None:
    """Puts ``text`` in the place of ``placeholder``, in the messages themselves."""
    for message in messages:
        for block in message.blocks:
            if isinstance(block, TextBlock):
                block.text = block.text.replace(placeholder, text)


def _as_template_message(message: ChatMessage) -> dict[str, Any]:
    converted: dict[str, Any] = {"role": _ROLES[message.role], "content": _text(message)}
    if calls := tool_calls_of(message):
        converted["tool_calls"] = [_as_template_call(call) for call in calls]
    for name in ("tool_call_id", "name"):
        if name in message.additional_kwargs:
            converted[name] = message.additional_kwargs[name]
    return converted


def _as_template_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"] or "{}"
    # Templates write arguments as JSON themselves, so they take them as a dictionary.
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            msg = f"the arguments of the tool call {function['name']!r} are no JSON: {error}"
            raise InvalidRequestError(msg) from error
    return {**call, "function": {**function, "arguments": arguments}}


def _from_block(block: Any) -> dict[str, Any]:
    arguments = block.tool_kwargs
    return {
        "id": block.tool_call_id,
        "type": "function",
        "function": {
            "name": block.tool_name,
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
        },
    }


def _text(message: ChatMessage) -> str:
    for block in message.blocks:
        kind = _kind(block)
        if not isinstance(block, TextBlock) and kind not in {_TOOL_CALL, *_NOT_FOR_THE_MODEL}:
            msg = f"blocks of type {kind!r} are not supported: send text blocks only"
            raise UnsupportedFeatureError(msg)
    return message.content or ""


def _kind(block: Any) -> str:
    return str(block.block_type)
