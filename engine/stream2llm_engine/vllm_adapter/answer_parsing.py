"""Tool calls, reasoning and constrained answers, by vLLM's own parsers and grammars.

vLLM keeps this in its server, behind the request of its HTTP interface. Here such a request stands
for the format only; the prompt does not go through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import VLLMError
from vllm.parser import DelegatingParser, ParserManager
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParser, ToolParserManager

from stream2llm_engine.answers import AnswerDelta, ToolCallDelta
from stream2llm_engine.errors import EngineConfigError, InvalidRequestError
from stream2llm_engine.vllm_adapter.reasoning import REASONING_PARSER_KWARGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream2llm_engine.answers import AnswerFormat
    from stream2llm_engine.outputs import StreamOutput

__all__ = ["AnswerReader", "AnswerRules"]


class AnswerRules:
    """Holds one request's answers to their format, and makes the readers of them.

    Args:
        tokenizer: The model's tokenizer.
        answer_format: The format.

    Raises:
        EngineConfigError: A parser does not exist, or not for this tokenizer.
        InvalidRequestError: A tool, the choice among them, or a constraint is malformed.
    """

    def __init__(self, tokenizer: Any, answer_format: AnswerFormat) -> None:
        self._tokenizer = tokenizer
        self._format = answer_format
        self._parser_class = _parser_class(tokenizer, answer_format)
        try:
            self._request = self._adjusted_request()
            if answer_format.forces_tools and self._request.extract_structured_outputs() is None:
                # No grammar for the model's own notation, if that is known at all.
                self._parser_class = _reading_json_calls(self._parser_class)
                self._request = self._adjusted_request()
        except (TypeError, ValueError, ValidationError, VLLMError) as error:
            msg = f"vLLM refuses the tools or the format of the answer: {error}"
            raise InvalidRequestError(msg) from error

    def constrain(self, params: Any) -> None:
        """Makes vLLM's ``SamplingParams`` allow what the format allows, and the parsers need."""
        params.structured_outputs = self._request.extract_structured_outputs()
        if not self._request.skip_special_tokens:
            params.skip_special_tokens = False
        if self._format.reasoning_parser is not None:
            # Where the reasoning ends, and so the constraint begins, may depend on the template's
            # variables, which the parser in the engine's core does not see otherwise.
            template_kwargs = {"chat_template_kwargs": dict(self._format.template_kwargs)}
            params.extra_args = {
                **(params.extra_args or {}),
                REASONING_PARSER_KWARGS: template_kwargs,
            }

    def reader(self, prompt_token_ids: Sequence[int]) -> AnswerReader:
        """Returns the reader of one answer to ``prompt_token_ids``."""
        return AnswerReader(self._parser(self._request), self._request, list(prompt_token_ids))

    def _adjusted_request(self) -> Any:
        request = _format_request(self._format)
        return self._parser(request).adjust_request(request)

    def _parser(self, request: Any) -> Any:
        return self._parser_class(
            self._tokenizer,
            request.tools,
            chat_template_kwargs=dict(self._format.template_kwargs),
        )


class AnswerReader:
    """Reads one answer, delta by delta."""

    def __init__(self, parser: Any, request: Any, prompt_token_ids: list[int]) -> None:
        self._parser = parser
        self._request = request
        self._prompt = prompt_token_ids
        self._answer: list[int] = []
        self._reasoned = False

    def read(self, output: StreamOutput) -> AnswerDelta:
        """Returns what a delta of the engine says; parsers may hold text back until later."""
        token_ids = list(output.token_ids)
        self._answer += token_ids
        message = self._parser.parse_delta(
            output.text,
            token_ids,
            self._request,
            self._prompt,
            finished=output.finish_reason is not None,
        )
        if message is None:
            return AnswerDelta()
        self._reasoned |= bool(message.reasoning)
        return AnswerDelta(
            text=message.content or "",
            reasoning=message.reasoning or "",
            tool_calls=_by_call(message.tool_calls),
        )

    @property
    def reasoning_tokens(self) -> int | None:
        """How many tokens of the answer so far are reasoning; ``None`` if the parser cannot say."""
        if self._parser.reasoning_parser is None:
            return None
        count = self._parser.count_reasoning_tokens
        # Reasoning that the prompt opens counts as such only together with the prompt.
        tokens = count(self._answer) or count(self._prompt + self._answer) - count(self._prompt)
        return None if self._reasoned and not tokens else tokens


def _format_request(answer_format: AnswerFormat) -> Any:
    values: dict[str, Any] = {
        "messages": [],
        "chat_template_kwargs": dict(answer_format.template_kwargs),
    }
    if not answer_format.forces_tools:
        values["response_format"] = answer_format.response_format
        values["structured_outputs"] = answer_format.structured_outputs
    if answer_format.tools:
        values["tools"] = list(answer_format.tools)
        values["tool_choice"] = answer_format.tool_choice
        values["parallel_tool_calls"] = answer_format.parallel_tool_calls
    return ChatCompletionRequest(**values)


def _parser_class(tokenizer: Any, answer_format: AnswerFormat) -> Any:
    tool_parser = answer_format.tool_parser if answer_format.tools else None
    names = {
        "tool call parser": (tool_parser, ToolParserManager),
        "reasoning parser": (answer_format.reasoning_parser, ReasoningParserManager),
    }
    for kind, (name, manager) in names.items():
        if name is not None and name not in (known := manager.list_registered()):
            msg = f"vLLM has no {kind} {name!r}; it has {', '.join(known)}"
            raise EngineConfigError(msg)
    try:
        parser_class = ParserManager.get_parser(
            tool_parser_name=tool_parser,
            reasoning_parser_name=answer_format.reasoning_parser,
            enable_auto_tools=True,
            # By default a forced call would keep to the function, but not to its parameters.
            tool_strict_level="parameter" if answer_format.forces_tools else "auto",
            tokenizer=tokenizer,
        )
    except (ImportError, TypeError) as error:
        msg = f"a parser cannot read this model, choose another one: {error}"
        raise EngineConfigError(msg) from error
    return parser_class or DelegatingParser


def _reading_json_calls(parser_class: Any) -> Any:
    """Returns a parser of the notation that vLLM forces where there is no other."""
    parsers = {
        "reasoning_parser_cls": parser_class.reasoning_parser_cls,
        "tool_parser_cls": ToolParser,
    }
    return type("JsonCallParser", (DelegatingParser,), parsers)


def _by_call(deltas: Sequence[Any]) -> tuple[ToolCallDelta, ...]:
    """Returns one delta a call: vLLM sends the name and the arguments apart."""
    calls: dict[int, ToolCallDelta] = {}
    for delta in deltas:
        before = calls.get(delta.index, ToolCallDelta(index=delta.index))
        function = delta.function
        calls[delta.index] = ToolCallDelta(
            index=delta.index,
            id=before.id or delta.id,
            name=before.name or (function.name if function else None),
            arguments=before.arguments + ((function.arguments if function else None) or ""),
        )
    return tuple(calls.values())
