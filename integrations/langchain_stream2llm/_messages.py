"""LangChain messages as a chat template reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
)

from stream2llm_engine.errors import UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_conversation"]


def as_conversation(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Converts messages to role and text.

    Raises:
        UnsupportedFeatureError: A message holds something other than text.
    """
    return [{"role": _role(message), "content": _content(message)} for message in messages]


def _role(message: BaseMessage) -> str:
    match message:
        case HumanMessage():
            return "user"
        case SystemMessage():
            return "system"
        case AIMessage() if not message.tool_calls:
            return "assistant"
        case ChatMessage():
            return message.role
        case _:
            msg = (
                f"messages of type {message.type!r} with tool calls or results are not supported;"
                " send text messages only"
            )
            raise UnsupportedFeatureError(msg)


def _content(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    for block in message.content:
        if not isinstance(block, str) and block.get("type") != "text":
            kind = block.get("type")
            msg = f"content blocks of type {kind!r} are not supported; send text only"
            raise UnsupportedFeatureError(msg)
    return str(message.text)
