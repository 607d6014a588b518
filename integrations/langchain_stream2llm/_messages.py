"""LangChain messages as a chat template reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from stream2llm_engine.errors import UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_conversation"]

_TEXT = frozenset({"text"})
# What an answer holds besides text; the message has it in fields of its own, too.
_ANSWER = _TEXT | {
    "function_call",
    "input_json_delta",
    "invalid_tool_call",
    "reasoning",
    "thinking",
    "tool_call",
    "tool_call_chunk",
    "tool_use",
}


def as_conversation(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Converts messages to what chat templates know: roles, text, tool calls and their results.

    Raises:
        UnsupportedFeatureError: A message holds something else, such as an image.
    """
    return [_turn(message) for message in messages]


def _turn(message: BaseMessage) -> dict[str, Any]:
    match message:
        case HumanMessage():
            turn = {"role": "user", "content": _text(message)}
        case SystemMessage():
            turn = {"role": "system", "content": _text(message)}
        case AIMessage():
            turn = _answer(message)
        case ToolMessage():
            turn = {
                "role": "tool",
                "content": _text(message),
                "tool_call_id": message.tool_call_id,
            }
        case ChatMessage():
            turn = {"role": message.role, "content": _text(message)}
        case _:
            msg = f"messages of type {message.type!r} are not supported; send another type"
            raise UnsupportedFeatureError(msg)
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _answer(message: AIMessage) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": _text(message, allowed=_ANSWER)}
    reasoning = "".join(
        str(block.get("reasoning", ""))
        for block in message.content_blocks
        if block["type"] == "reasoning"
    )
    if reasoning:
        turn["reasoning_content"] = reasoning
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    if calls:
        turn["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["args"]},
            }
            for call in calls
        ]
    return turn


def _text(message: BaseMessage, *, allowed: frozenset[str] = _TEXT) -> str:
    if isinstance(message.content, str):
        return message.content
    for block in message.content:
        if not isinstance(block, str) and block.get("type") not in allowed:
            kind = block.get("type")
            msg = f"content blocks of type {kind!r} are not supported; send text only"
            raise UnsupportedFeatureError(msg)
    return str(message.text)
