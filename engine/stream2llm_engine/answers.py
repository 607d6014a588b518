"""What an answer may be besides text: tool calls, reasoning, a form it has to keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AnswerDelta", "AnswerFormat", "ToolCallDelta"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFormat:
    """How an answer is to be written, and how to read it. Names and shapes are OpenAI's.

    Attributes:
        tools: Functions that may be called, ``{"type": "function", "function": {…}}`` each.
        tool_choice: ``"auto"``, ``"required"``, ``"none"``, or
            ``{"type": "function", "function": {"name": …}}``.
        parallel_tool_calls: Whether a forced answer may hold several calls.
        response_format: ``{"type": "json_object"}``, ``{"type": "json_schema", …}``, or ``None``.
        structured_outputs: Any other constraint: vLLM's ``StructuredOutputsParams``, or its fields.
        tool_parser: vLLM's name of the way the model writes tool calls (``"hermes"``, …). Without
            it a call can only be forced, as JSON.
        reasoning_parser: vLLM's name of the way the model marks its reasoning. Constraints hold
            from the end of the reasoning on if the engine was started with the same name.
        template_kwargs: What the chat template was given, which some parsers read.
    """

    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    parallel_tool_calls: bool = True
    response_format: Mapping[str, Any] | None = None
    structured_outputs: Any = None
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def forces_tools(self) -> bool:
        """Whether the answer has to be a tool call."""
        return bool(self.tools) and self.tool_choice not in ("auto", "none")

    @property
    def is_plain(self) -> bool:
        """Whether the answer is text and nothing else."""
        return not (
            self.tools
            or self.reasoning_parser
            or self.response_format
            or self.structured_outputs is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """What one delta adds to a tool call.

    Attributes:
        index: Which of the answer's calls it belongs to.
        id: The call's id, with its first delta.
        name: The function's name, with its first delta.
        arguments: JSON text added to the arguments.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDelta:
    """What one delta of an answer says.

    Attributes:
        text: Text added to the answer proper.
        reasoning: Text added to the reasoning before it.
        tool_calls: What is added to tool calls, one entry a call.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.tool_calls)
