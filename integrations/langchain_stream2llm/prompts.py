"""Chat prompts that pass the context on while it is still being retrieved."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.prompts import BasePromptTemplate, ChatPromptTemplate
from langchain_core.prompts.chat import MessageLikeRepresentation
from langchain_core.runnables import AddableDict, RunnableConfig, RunnableSerializable
from pydantic import ConfigDict, SkipValidation

from langchain_stream2llm._context_prompt import (
    DEFAULT_DOCUMENT_PROMPT,
    ContextFormat,
    ContextPrompt,
)
from langchain_stream2llm._delta import DocumentDelta
from langchain_stream2llm._streamed_prompt import StreamedPromptValue
from stream2llm_engine.errors import InvalidRequestError

__all__ = ["StreamingChatPromptTemplate"]

_Values = dict[str, Any]


class StreamingChatPromptTemplate(RunnableSerializable[dict[str, Any], PromptValue]):
    """A chat prompt whose context variable may still be arriving.

    It takes documents, not text: ``retriever | format_docs`` would wait for all of them. In a
    streamed chain it passes the text around the context on as soon as every other variable is
    known, and then each document; a model that is not made for this gets the whole prompt.

    LangChain runs the steps of such a chain one after the other unless it is streamed, and does not
    stop a retriever when nobody wants the answer any more. ``create_streaming_rag_chain`` overlaps
    in every method and stops everything at once.

    ```python
    prompt = StreamingChatPromptTemplate.from_messages(
        [("system", "Answer from these documents: {context}"), ("human", "{question}")]
    )
    chain = RunnablePassthrough.assign(context=itemgetter("question") | retriever) | prompt | llm
    ```

    Attributes:
        prompt: The prompt template.
        context_variable: Its variable for the documents.
        document_prompt: How a document is written; ``page_content`` and metadata are its variables.
        document_separator: Text between documents.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    prompt: SkipValidation[BasePromptTemplate[Any]]
    context_variable: str = "context"
    document_prompt: SkipValidation[BasePromptTemplate[str]] = DEFAULT_DOCUMENT_PROMPT
    document_separator: str = "\n\n"

    @classmethod
    def from_messages(cls, messages: list[MessageLikeRepresentation], **fields: Any) -> Self:
        """Makes the prompt of messages, as ``ChatPromptTemplate.from_messages`` takes them."""
        return cls(prompt=ChatPromptTemplate.from_messages(messages), **fields)

    @classmethod
    def from_template(cls, template: str, **fields: Any) -> Self:
        """Makes the prompt of one human message."""
        return cls(prompt=ChatPromptTemplate.from_template(template), **fields)

    def partial(self, **values: Any) -> Self:
        """Returns the prompt with some variables filled in, by values or by functions."""
        return self.model_copy(update={"prompt": self.prompt.partial(**values)})

    def invoke(
        self, input: _Values, config: RunnableConfig | None = None, **kwargs: Any
    ) -> PromptValue:
        """Renders the prompt for documents that are all there.

        Raises:
            InvalidRequestError: The context is not a list of documents.
            PromptTemplateError: The context does not stand in the prompt exactly once.
        """
        return self._call_with_config(self._render, input, config, run_type="prompt", **kwargs)

    def transform(
        self, input: Iterator[_Values], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[PromptValue]:
        """Passes the prompt on in pieces that add up to what ``invoke`` returns."""
        yield from self._transform_stream_with_config(
            input, self._transform, config, run_type="prompt", **kwargs
        )

    async def atransform(
        self, input: AsyncIterator[_Values], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[PromptValue]:
        """Passes the prompt on in pieces that add up to what ``invoke`` returns."""
        async for piece in self._atransform_stream_with_config(
            input, self._atransform, config, run_type="prompt", **kwargs
        ):
            yield piece

    def _render(self, values: _Values) -> PromptValue:
        pieces = _Pieces(self)
        piece = pieces.take(values)
        pieces.end()
        assert piece is not None
        return ChatPromptValue(messages=piece.to_messages())

    def _transform(self, chunks: Iterator[_Values]) -> Iterator[PromptValue]:
        pieces = _Pieces(self)
        for chunk in chunks:
            if (piece := pieces.take(chunk)) is not None:
                yield piece
        pieces.end()

    async def _atransform(self, chunks: AsyncIterator[_Values]) -> AsyncIterator[PromptValue]:
        pieces = _Pieces(self)
        async for chunk in chunks:
            if (piece := pieces.take(chunk)) is not None:
                yield piece
        pieces.end()


class _Pieces:
    """Cuts the prompt of one call into pieces."""

    def __init__(self, template: StreamingChatPromptTemplate) -> None:
        self._template = template
        needed = {*template.prompt.input_variables} - {template.context_variable}
        self._needed = frozenset(needed)
        self._used = self._needed | {*template.prompt.optional_variables}
        self._values = AddableDict()
        self._documents = DocumentDelta()
        self._has_context = False
        self._started = False

    def take(self, chunk: _Values) -> StreamedPromptValue | None:
        """Takes a chunk of the input in, and returns the next piece if there is one.

        Raises:
            InvalidRequestError: The context is not documents, or another variable comes too late.
        """
        name = self._template.context_variable
        if name in chunk:
            self._has_context = True
            self._documents = self._documents + _as_delta(name, chunk[name])
        late = self._used & chunk.keys() if self._started else None
        if late:
            msg = (
                f"the prompt variables {sorted(late)} still change while the context arrives;"
                " compute them before the retriever starts"
            )
            raise InvalidRequestError(msg)
        self._values += AddableDict({key: chunk[key] for key in chunk if key != name})
        return self._piece()

    def end(self) -> None:
        """Says that the input is complete.

        Raises:
            InvalidRequestError: A variable never came.
        """
        if not self._has_context:
            msg = f"the input has no {self._template.context_variable!r}; give it the documents"
            raise InvalidRequestError(msg)
        if not self._started:
            self._render()

    def _piece(self) -> StreamedPromptValue | None:
        prompt = None
        if not self._started:
            if not self._needed <= self._values.keys():
                return None
            prompt = self._render()
            self._started = True
        elif not self._documents and not self._documents.retract:
            return None
        documents, self._documents = self._documents, DocumentDelta()
        return StreamedPromptValue(prompt=prompt, documents=documents)

    def _render(self) -> ContextPrompt:
        template = self._template
        return ContextPrompt.from_template(
            template.prompt,
            self._values,
            template.context_variable,
            ContextFormat(template.document_prompt, template.document_separator),
        )


def _as_delta(name: str, value: Any) -> DocumentDelta:
    if isinstance(value, list) and all(isinstance(item, Document) for item in value):
        return DocumentDelta.of(value)
    msg = (
        f"the prompt variable {name!r} must be a list of documents, not {type(value).__name__};"
        " let the prompt format them, with `document_prompt`"
    )
    raise InvalidRequestError(msg)
