"""LlamaIndex messages as a chat template reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock

from stream2llm_engine.errors import UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_conversation", "fill_in"]

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
}


def as_conversation(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Converts messages to role and text.

    Raises:
        UnsupportedFeatureError: A message is from a tool or holds something other than text.
    """
    return [{"role": _role(message), "content": _text(message)} for message in messages]


def fill_in(messages: Sequence[ChatMessage], placeholder: str, text: str) -> None:
    """Puts ``text`` in the place of ``placeholder``, in the messages themselves."""
    for message in messages:
        for block in message.blocks:
            if isinstance(block, TextBlock):
                block.text = block.text.replace(placeholder, text)


def _role(message: ChatMessage) -> str:
    if message.role not in _ROLES:
        msg = f"messages of role {message.role.value!r} are not supported: send text messages only"
        raise UnsupportedFeatureError(msg)
    return _ROLES[message.role]


def _text(message: ChatMessage) -> str:
    for block in message.blocks:
        if not isinstance(block, TextBlock):
            msg = f"blocks of type {block.block_type!r} are not supported: send text blocks only"
            raise UnsupportedFeatureError(msg)
    return message.content or ""
