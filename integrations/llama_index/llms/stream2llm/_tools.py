"""Tools, the choice among them, and the calls that a model makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.llms.llm import ToolSelection
from pydantic_core import from_json

from llama_index.llms.stream2llm._messages import tool_calls_of
from stream2llm_engine.errors import InvalidRequestError, UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.base.llms.types import ChatResponse

    from stream2llm_engine.answers import ToolCallDelta

__all__ = ["ToolCalls", "selections", "tool_choice_of"]


def tool_choice_of(
    choice: str | Mapping[str, Any] | None,
    tools: Sequence[Mapping[str, Any]],
    tool_call_parser: str | None,
) -> str | dict[str, Any]:
    """Returns the choice as OpenAI writes it.

    Args:
        choice: ``"required"`` or ``"any"`` for a call of whichever tool, the name of a tool or
            OpenAI's dictionary with it, ``"none"``; ``None`` and ``"auto"`` leave it to the model.
        tools: What there is to choose from, in OpenAI's form.
        tool_call_parser: How the model writes calls, if that is known.

    Raises:
        InvalidRequestError: The choice is none of the tools.
        UnsupportedFeatureError: It is left to the model, and nobody knows how that writes calls.
    """
    names = [tool["function"]["name"] for tool in tools]
    match choice:
        case None | "auto" if tool_call_parser is None:
            msg = (
                "tools that the model may call or not need to be found in its text, and every model"
                ' writes calls in its own way: pass tool_call_parser="hermes" (Qwen, Hermes),'
                ' "llama3_json", "mistral" or another of vLLM\'s names to Stream2LLM, force a call'
                " with tool_required=True or tool_choice, or use a ReActAgent"
            )
            raise UnsupportedFeatureError(msg)
        case None | "auto":
            return "auto"
        case "required" | "any":
            return "required"
        case "none":
            return "none"
        case {"function": {"name": name}} | str(name) if name in names:
            return {"type": "function", "function": {"name": name}}
        case _:
            msg = (
                f"tool_choice {choice!r} is none of the tools {names};"
                ' give a name of these, "auto", "required" or "none"'
            )
            raise InvalidRequestError(msg)


class ToolCalls:
    """The calls of one answer as far as they go, in OpenAI's form."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, deltas: Sequence[ToolCallDelta]) -> None:
        """Takes in what one delta of the answer adds."""
        for delta in deltas:
            call = self._calls.setdefault(
                delta.index,
                {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
            )
            call["id"] = call["id"] or delta.id
            call["function"]["name"] = call["function"]["name"] or delta.name or ""
            call["function"]["arguments"] += delta.arguments

    def __bool__(self) -> bool:
        return bool(self._calls)

    def snapshot(self) -> list[dict[str, Any]]:
        """Returns a copy of the calls so far."""
        return [
            {**call, "function": dict(call["function"])} for _, call in sorted(self._calls.items())
        ]


def selections(response: ChatResponse) -> list[ToolSelection]:
    """Returns the tool calls of a response; while it is streamed, as far as they go.

    Raises:
        InvalidRequestError: The response is complete, a call in it is not.
    """
    # Only the last response of a stream has `raw`.
    complete = response.raw is not None
    return [
        ToolSelection(
            tool_id=call.get("id") or call["function"]["name"],
            tool_name=call["function"]["name"],
            tool_kwargs=_arguments(call["function"], complete=complete),
        )
        for call in tool_calls_of(response.message)
    ]


def _arguments(function: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
    text = function["arguments"]
    if isinstance(text, dict):
        return text
    try:
        arguments = from_json(text or "{}", allow_partial=not complete and "trailing-strings")
    except ValueError as error:
        msg = (
            f"the call of {function['name']!r} has no complete arguments, {text!r}:"
            " raise max_tokens, or ask again"
        )
        raise InvalidRequestError(msg) from error
    return arguments if isinstance(arguments, dict) else {}
