"""What a response synthesizer says about the prompt, read at every query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from llama_index.core.response_synthesizers import CompactAndRefine, SimpleSummarize

from llama_index.llms.stream2llm.base import Stream2LLM
from stream2llm_engine.errors import UnsupportedFeatureError
from stream2llm_rag.errors import PromptTemplateError
from stream2llm_rag.prompt import SENTINEL, split_rendered

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.response_synthesizers import BaseSynthesizer

__all__ = ["Synthesis", "check_synthesizer"]

_SEPARATORS = {CompactAndRefine: "\n\n", SimpleSummarize: "\n"}


class Synthesis(NamedTuple):
    """One call of the model on all nodes.

    Attributes:
        llm: The model.
        messages: The prompt, with ``SENTINEL`` where the nodes go.
        separator: Text between two nodes.
    """

    llm: Stream2LLM
    messages: list[ChatMessage]
    separator: str

    @classmethod
    def of(cls, synthesizer: BaseSynthesizer, query_str: str) -> Synthesis:
        """Prepares the call for a query.

        Raises:
            PromptTemplateError: The prompt has not one place for the context, or computes something
                from the whole of it.
        """
        llm = check_synthesizer(synthesizer)
        template = synthesizer.get_prompts()["text_qa_template"]
        _check_template(template)
        messages = llm._get_messages(template, context_str=SENTINEL, query_str=query_str)
        # Before the retrieval starts; the chat template may still refuse the context later.
        split_rendered("".join(message.content or "" for message in messages))
        return cls(llm, messages, _SEPARATORS[type(synthesizer)])


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
    if synthesizer._output_cls is not None or synthesizer._multimodal:
        msg = "output_cls and multimodal are not available yet: use a RetrieverQueryEngine"
        raise UnsupportedFeatureError(msg)
    llm: Any = synthesizer._llm
    if not isinstance(llm, Stream2LLM):
        msg = (
            f"{type(llm).__name__} cannot prefill while nodes arrive: pass llm=Stream2LLM(...), or"
            " use a RetrieverQueryEngine with it"
        )
        raise UnsupportedFeatureError(msg)
    return llm


def _check_template(template: BasePromptTemplate) -> None:
    selected = template.select() if hasattr(template, "select") else template
    if "context_str" in (selected.function_mappings or {}):
        msg = (
            "the prompt maps `context_str` through a function, which needs the whole context:"
            " format nodes in the retriever or in a per-node postprocessor"
        )
        raise PromptTemplateError(msg)
