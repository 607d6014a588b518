"""What one call of the model asks for, and what that means for the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_stream2llm._messages import as_conversation
from langchain_stream2llm._sampling import sampling_params
from langchain_stream2llm._tools import openai_tool_choice, openai_tools, require_parser
from stream2llm_engine.answers import AnswerFormat
from stream2llm_rag.prompt import render_chat_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from stream2llm_engine import SamplingParams
    from stream2llm_engine.vllm_adapter.answer_parsing import AnswerRules

__all__ = ["Plan", "Request", "plan", "prompt_ids", "take_answer_format"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the model.

    Attributes:
        messages: The conversation; it may carry a live prompt.
        model: Name of the model for metadata.
        sampling: How to decode, as ``sampling_params`` takes it.
        answer_format: What the answer may or has to be besides text.
        scheduling: Whose request it is and how urgent, as ``StreamEngine.open_session`` takes it.
        lora_path: Directory of the LoRA adapter to use.
        template_kwargs: Variables for the chat template.
        timeout_s: Bound of the whole call, retrieval included, loading the model not.
    """

    messages: Sequence[BaseMessage]
    model: str
    sampling: Mapping[str, Any] = field(default_factory=dict)
    answer_format: AnswerFormat = field(default_factory=AnswerFormat)
    scheduling: Mapping[str, Any] = field(default_factory=dict)
    lora_path: str | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request in the engine's terms.

    Attributes:
        params: How to decode.
        rules: Keep and read the answer's format; None if it is text only.
        lora: vLLM's request for the LoRA adapter.
    """

    params: SamplingParams
    rules: AnswerRules | None
    lora: Any


def plan(tokenizer: Any, request: Request) -> Plan:
    """Returns what the engine needs besides the prompt. Imports vLLM, which takes its time.

    Raises:
        Stream2LLMError: An option, a tool or a constraint is wrong.
    """
    params = sampling_params(request.sampling)
    rules = lora = None
    if not request.answer_format.is_plain:
        from stream2llm_engine.vllm_adapter.answer_parsing import AnswerRules

        rules = AnswerRules(tokenizer, request.answer_format)
        rules.constrain(params)
    if request.lora_path is not None:
        from stream2llm_engine.vllm_adapter.lora import lora_request

        lora = lora_request(request.lora_path)
    return Plan(params=params, rules=rules, lora=lora)


def prompt_ids(
    tokenizer: Any, messages: Sequence[BaseMessage], template_kwargs: Mapping[str, Any]
) -> list[int]:
    """Returns the tokens of a complete conversation.

    Raises:
        PromptTemplateError: The chat template does not take the messages.
        UnsupportedFeatureError: A message holds something that is not text.
    """
    text = render_chat_template(tokenizer, as_conversation(messages), **template_kwargs)
    return list(tokenizer.encode(text, add_special_tokens=False))


def take_answer_format(
    options: dict[str, Any],
    *,
    tool_call_parser: str | None,
    reasoning_parser: str | None,
    template_kwargs: Mapping[str, Any],
) -> AnswerFormat:
    """Removes from ``options`` what says how the answer is written, and returns that.

    Tools that must not be called are left out, from the prompt, too.

    Raises:
        InvalidRequestError: The tool choice names no tool.
        UnsupportedFeatureError: The model may call tools, and nobody knows how it does.
    """
    tools = openai_tools(options.pop("tools", None) or ())
    choice = openai_tool_choice(options.pop("tool_choice", None), tools)
    if tools:
        require_parser(choice, tool_call_parser)
    parallel = options.pop("parallel_tool_calls", None)
    return AnswerFormat(
        tools=() if choice == "none" else tools,
        tool_choice=choice,
        parallel_tool_calls=True if parallel is None else parallel,
        response_format=options.pop("response_format", None),
        structured_outputs=options.pop("structured_outputs", None),
        tool_parser=tool_call_parser,
        reasoning_parser=reasoning_parser,
        template_kwargs=template_kwargs,
    )
