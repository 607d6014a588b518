"""A rendered LangChain prompt with one open place for the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.prompts import BasePromptTemplate, PromptTemplate, format_document

from langchain_stream2llm._documents import from_core
from stream2llm_engine.errors import InvalidRequestError
from stream2llm_rag.errors import PromptTemplateError
from stream2llm_rag.prompt import SENTINEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_core.messages import BaseMessage

    from stream2llm_rag.documents import Document

__all__ = ["DEFAULT_DOCUMENT_PROMPT", "ContextFormat", "ContextPrompt"]

DEFAULT_DOCUMENT_PROMPT = PromptTemplate.from_template("{page_content}")


@dataclass(frozen=True, slots=True)
class ContextFormat:
    """How documents become text: each by the document prompt, with a fixed separator between."""

    document_prompt: BasePromptTemplate[str]
    separator: str

    def render(self, document: Document) -> str:
        """Returns one document's text."""
        return format_document(from_core(document), self.document_prompt)

    def text(self, documents: Iterable[Document]) -> str:
        """Returns the text of the whole context."""
        return self.separator.join(map(self.render, documents))


@dataclass(frozen=True, slots=True)
class ContextPrompt:
    """Messages in which ``SENTINEL`` stands once, where the context goes."""

    messages: tuple[BaseMessage, ...]
    context_format: ContextFormat

    @classmethod
    def from_template(
        cls,
        template: BasePromptTemplate[Any],
        values: Mapping[str, Any],
        context_variable: str,
        context_format: ContextFormat,
    ) -> ContextPrompt:
        """Renders a template for every variable but the context.

        Raises:
            InvalidRequestError: A variable of the template has no value.
            PromptTemplateError: The context does not stand in the messages exactly once.
        """
        missing = sorted({*template.input_variables} - {*values, context_variable})
        if missing:
            msg = f"the prompt also needs {missing}; the input has {sorted(values)}"
            raise InvalidRequestError(msg)
        rendered = template.format_prompt(**{**values, context_variable: SENTINEL}).to_messages()
        found = sum(_count(message) for message in rendered)
        if found != 1:
            msg = (
                f"the prompt shows the context variable {context_variable!r} {found} times"
                " (escaped text does not count); it must stand there exactly once"
            )
            raise PromptTemplateError(msg)
        return cls(tuple(rendered), context_format)

    @property
    def slot(self) -> int:
        """Index of the message that holds the context."""
        return next(i for i, message in enumerate(self.messages) if _count(message))

    def filled(self, context: str) -> list[BaseMessage]:
        """Returns the messages an ordinary chain builds when the context is ``context``."""
        messages = list(self.messages)
        message = messages[self.slot]
        content = _fill(message.content, context)
        messages[self.slot] = message.model_copy(update={"content": content})
        return messages


def _count(message: BaseMessage) -> int:
    return str(message.text).count(SENTINEL)


def _fill(content: str | list[Any], context: str) -> str | list[Any]:
    if isinstance(content, str):
        return content.replace(SENTINEL, context)
    return [_fill_block(block, context) for block in content]


def _fill_block(block: str | dict[str, Any], context: str) -> str | dict[str, Any]:
    if isinstance(block, str):
        return block.replace(SENTINEL, context)
    if block.get("type") == "text":
        return {**block, "text": block["text"].replace(SENTINEL, context)}
    return block
