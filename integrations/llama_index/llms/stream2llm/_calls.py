"""What the options of a call ask for: whose it is, how it is answered, how it is sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.llms.stream2llm._answers import Request
from llama_index.llms.stream2llm._prompts import ChatPrompt, LivePrompt, Prompt, TextPrompt
from llama_index.llms.stream2llm._sampling import sampling_params
from llama_index.llms.stream2llm._tools import tool_choice_of
from stream2llm_engine.answers import AnswerFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.base.llms.types import ChatMessage

    from llama_index.llms.stream2llm._live_nodes import LiveNodes
    from llama_index.llms.stream2llm.base import Stream2LLM

__all__ = ["chat_request", "text_request"]


def chat_request(
    llm: Stream2LLM, messages: Sequence[ChatMessage], options: Mapping[str, Any]
) -> Request:
    """Prepares to answer a conversation.

    Args:
        llm: The model, whose fields are the defaults.
        messages: The conversation.
        options: Keyword arguments of the call: ``tools``, ``tool_choice``, ``parallel_tool_calls``,
            ``response_format`` as OpenAI means them, ``structured_outputs``, ``tenant``,
            ``priority``, ``timeout``, ``lora``, ``chat_template_kwargs``, ``live_nodes``; whatever
            else goes to vLLM's ``SamplingParams``.

    Raises:
        InvalidRequestError: A value is wrong.
        UnsupportedFeatureError: An option is not known.
    """
    left = dict(options)
    live: LiveNodes | None = left.pop("live_nodes", None)
    answer_format = _answer_format(llm, left)
    template_kwargs = dict(answer_format.template_kwargs)
    if answer_format.tools:
        template_kwargs["tools"] = list(answer_format.tools)
    prompt: Prompt = ChatPrompt(messages, template_kwargs)
    if live is not None:
        prompt = LivePrompt(messages, live, template_kwargs)
    return _request(llm, prompt, answer_format, left)


def text_request(llm: Stream2LLM, text: str, options: Mapping[str, Any]) -> Request:
    """Prepares to answer text that is the model's very input; see ``chat_request``."""
    left = dict(options)
    return _request(llm, TextPrompt(text), _answer_format(llm, left), left)


def _answer_format(llm: Stream2LLM, options: dict[str, Any]) -> AnswerFormat:
    tools = tuple(options.pop("tools", None) or ())
    choice = options.pop("tool_choice", None)
    chosen = tool_choice_of(choice, tools, llm.tool_call_parser) if tools else "none"
    return AnswerFormat(
        # Those that must not be called stay out of the prompt, too.
        tools=() if chosen == "none" else tools,
        tool_choice=chosen,
        parallel_tool_calls=options.pop("parallel_tool_calls", True),
        response_format=options.pop("response_format", None),
        structured_outputs=options.pop("structured_outputs", None),
        tool_parser=llm.tool_call_parser,
        reasoning_parser=llm.reasoning_parser,
        template_kwargs={**llm.chat_template_kwargs, **options.pop("chat_template_kwargs", {})},
    )


def _request(
    llm: Stream2LLM, prompt: Prompt, answer_format: AnswerFormat, options: dict[str, Any]
) -> Request:
    tenant = options.pop("tenant", llm.tenant)
    priority = options.pop("priority", llm.priority)
    timeout_s = options.pop("timeout", llm.timeout)
    lora = options.pop("lora", llm.lora)
    defaults = {
        "temperature": llm.temperature,
        "max_tokens": llm.max_tokens,
        "stop": llm.stop,
        "seed": llm.seed,
    }
    return Request(
        prompt=prompt,
        sampling_params=sampling_params({**defaults, **llm.additional_kwargs, **options}),
        answer_format=answer_format,
        model=llm.model,
        tenant=tenant,
        priority=priority,
        lora=lora,
        timeout_s=timeout_s,
    )
