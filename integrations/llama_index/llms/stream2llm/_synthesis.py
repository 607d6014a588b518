"""What a response synthesizer says about the prompt, read at every query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.response_synthesizers import CompactAndRefine, SimpleSummarize

from llama_index.llms.stream2llm._live_answer import EMPTY_RESPONSE, LiveAnswer
from llama_index.llms.stream2llm._live_nodes import LiveNodes
from llama_index.llms.stream2llm._structured import with_schema
from llama_index.llms.stream2llm.base import Stream2LLM
from stream2llm_engine.errors import UnsupportedFeatureError
from stream2llm_rag.errors import PromptTemplateError
from stream2llm_rag.prompt import SENTINEL, split_rendered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.response_synthesizers import BaseSynthesizer

    from stream2llm_rag.prompt import DocumentOrder

__all__ = ["check_messages", "check_model", "check_synthesizer", "check_template", "live_answer"]

_SEPARATORS = {CompactAndRefine: "\n\n", SimpleSummarize: "\n"}


def live_answer(
    synthesizer: BaseSynthesizer,
    query_str: str,
    order: DocumentOrder,
    options: Mapping[str, Any],
) -> LiveAnswer:
    """Prepares the one call of the model that answers a query; ``options`` are of that call.

    Raises:
        PromptTemplateError: The prompt has not one place for the context, or computes something
            from the whole of it.
    """
    llm = check_synthesizer(synthesizer)
    template = synthesizer.get_prompts()["text_qa_template"]
    check_template(template)
    messages = llm._get_messages(template, context_str=SENTINEL, query_str=query_str)
    output_cls = synthesizer._output_cls
    if isinstance(synthesizer._llm, StructuredLLM):
        output_cls = synthesizer._llm.output_cls
    if output_cls is not None:
        messages = with_schema(output_cls, messages)
    check_messages(messages)
    return LiveAnswer(
        llm=llm,
        messages=messages,
        live=LiveNodes(separator=_SEPARATORS[type(synthesizer)], order=order),
        # Fixed before llama-index-core 0.14.
        empty_response=getattr(synthesizer, "_empty_response", EMPTY_RESPONSE),
        output_cls=output_cls,
        options=options,
    )


def check_messages(messages: Sequence[ChatMessage]) -> None:
    """Refuses a prompt before the retrieval starts; the chat template may still do so later.

    Raises:
        PromptTemplateError: The prompt has not one place for the context.
    """
    split_rendered("".join(message.content or "" for message in messages))


def check_synthesizer(synthesizer: BaseSynthesizer) -> Stream2LLM:
    """Returns the model of a synthesizer whose prompt can be streamed.

    Raises:
        UnsupportedFeatureError: It makes several calls of the model, or one of another kind.
    """
    if type(synthesizer) not in _SEPARATORS:
        name = type(synthesizer).__name__
        msg = (
            f"{name} does not answer from one prompt with all nodes in it, so there is nothing to"
            " stream into: use response_mode 'compact' or 'simple_summarize', or a"
            " RetrieverQueryEngine"
        )
        raise UnsupportedFeatureError(msg)
    # Not there in the oldest supported LlamaIndex.
    if getattr(synthesizer, "_multimodal", False):
        msg = "multimodal synthesis is not available: use a RetrieverQueryEngine"
        raise UnsupportedFeatureError(msg)
    if getattr(synthesizer, "_structured_answer_filtering", False):
        msg = (
            "structured_answer_filtering asks the model about one part of the nodes after the"
            " other, so there is nothing to stream into: leave it out"
        )
        raise UnsupportedFeatureError(msg)
    structured = synthesizer._output_cls or isinstance(synthesizer._llm, StructuredLLM)
    if structured and synthesizer._streaming:
        msg = (
            "a structured answer is there as a whole or not at all: leave streaming=True out, or"
            " stream partial objects with llm.astream_structured_predict"
        )
        raise UnsupportedFeatureError(msg)
    llm = synthesizer._llm
    return check_model(llm.llm if isinstance(llm, StructuredLLM) else llm)


def check_model(llm: Any) -> Stream2LLM:
    """Returns the model if it can be streamed into.

    Raises:
        UnsupportedFeatureError: It cannot.
    """
    if not isinstance(llm, Stream2LLM):
        msg = (
            f"{type(llm).__name__} cannot prefill while nodes arrive: pass llm=Stream2LLM(...), or"
            " use LlamaIndex's own engine with it"
        )
        raise UnsupportedFeatureError(msg)
    return llm


def check_template(template: BasePromptTemplate) -> None:
    """Refuses a template that computes something from the whole of the context.

    Raises:
        PromptTemplateError: It does.
    """
    selected = template.select() if hasattr(template, "select") else template
    if "context_str" in (selected.function_mappings or {}):
        msg = (
            "the prompt maps `context_str` through a function, which needs the whole context:"
            " format nodes in the retriever or in a per-node postprocessor"
        )
        raise PromptTemplateError(msg)
