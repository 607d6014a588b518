"""Tools and the choice among them, as LangChain users give them and as OpenAI writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from stream2llm_engine.errors import InvalidRequestError, UnsupportedFeatureError

__all__ = ["AnyTool", "AnyToolChoice", "openai_tool_choice", "openai_tools", "require_parser"]

AnyTool: TypeAlias = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
AnyToolChoice: TypeAlias = str | bool | Mapping[str, Any] | None


def openai_tools(tools: Sequence[AnyTool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Describes tools as OpenAI does.

    Args:
        tools: LangChain tools, functions, pydantic models, typed dicts, JSON schemas or OpenAI's
            own form.
        strict: OpenAI's promise that arguments keep to the schema; ``None`` leaves it as it is.
    """
    return [
        convert_to_openai_tool(dict(tool) if isinstance(tool, Mapping) else tool, strict=strict)
        for tool in tools
    ]


def openai_tool_choice(
    choice: AnyToolChoice, tools: Sequence[Mapping[str, Any]]
) -> str | dict[str, Any]:
    """Returns the choice as OpenAI writes it.

    Args:
        choice: ``"any"``, ``"required"`` or ``True`` for at least one call of any tool, the name of
            a tool, OpenAI's or Anthropic's dictionary with it, ``"none"`` for no call; ``None``,
            ``False`` and ``"auto"`` leave it to the model.
        tools: What there is to choose from, in OpenAI's form.

    Raises:
        InvalidRequestError: The choice names no tool of these.
    """
    names = [tool["function"]["name"] for tool in tools]
    match choice:
        case None | False | "auto":
            return "auto"
        case True | "any" | "required":
            return "required"
        case "none":
            return "none"
        case str():
            name: Any = choice
        case {"function": {"name": name}} | {"name": name}:
            pass
        case {"type": "auto" | "any" | "none" as kind}:
            return openai_tool_choice(kind, tools)
        case _:
            name = choice
    if name not in names:
        msg = (
            f"tool_choice {choice!r} is none of the tools {names};"
            ' give a name of these, "auto", "any" or "none"'
        )
        raise InvalidRequestError(msg)
    return {"type": "function", "function": {"name": name}}


def require_parser(choice: str | Mapping[str, Any], tool_call_parser: str | None) -> None:
    """Refuses to let the model choose where nobody knows how it writes its calls.

    Raises:
        UnsupportedFeatureError: The choice is the model's and there is no parser.
    """
    if choice == "auto" and tool_call_parser is None:
        msg = (
            "tools that the model may call or not need to be found in its text, and every model"
            ' writes calls in its own way: pass tool_call_parser="hermes" (Qwen, Hermes),'
            ' "llama3_json", "mistral" or another of vLLM\'s names to ChatStream2LLM, or force a'
            ' call with tool_choice="any" or the name of a tool'
        )
        raise UnsupportedFeatureError(msg)
