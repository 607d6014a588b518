"""Retrieval and answer as one chain that overlaps them in every method."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    CallbackManagerForChainRun,
    adispatch_custom_event,
)
from langchain_core.documents import Document
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig, RunnableSerializable
from pydantic import ConfigDict, SkipValidation

from langchain_stream2llm._context_prompt import (
    DEFAULT_DOCUMENT_PROMPT,
    ContextFormat,
    ContextPrompt,
)
from langchain_stream2llm._feed import feeding, feeding_in_background
from langchain_stream2llm._live_prompt import LivePrompt, LivePromptValue
from langchain_stream2llm._readers import reading_live_prompts
from stream2llm_engine.errors import InvalidRequestError
from stream2llm_rag.errors import PromptTemplateError

__all__ = ["CONTEXT_EVENT", "create_streaming_rag_chain"]

CONTEXT_EVENT = "stream2llm.context"
"""Name of the custom event that reports to callbacks and ``astream_events`` what was retrieved."""


def create_streaming_rag_chain(
    retriever: Runnable[str, list[Document]],
    prompt: BasePromptTemplate[Any],
    llm: Runnable[LanguageModelInput, BaseMessage],
    *,
    question_key: str = "question",
    document_variable_name: str = "context",
    document_prompt: BasePromptTemplate[str] | None = None,
    document_separator: str = "\n\n",
) -> Runnable[dict[str, Any], BaseMessage]:
    """Makes a chain that answers a question from what the retriever finds.

    ``ChatStream2LLM`` computes the prompt while documents are still arriving, whether the chain is
    streamed, invoked or batched, synchronously or not. The prompt is the one that an ordinary chain
    builds from the same documents. Any other model gets it when it is complete.

    ```python
    chain = create_streaming_rag_chain(retriever, prompt, ChatStream2LLM(model="..."))
    async for chunk in chain.astream({"question": "What is the capital of Zorland?"}):
        print(chunk.text, end="")
    ```

    Args:
        retriever: A ``StreamingRetriever``, or anything else that turns a question into documents.
        prompt: A prompt with a variable for the documents and any others, which the input has to
            hold. Put the question behind the documents: what stands behind them is computed last.
        llm: The model, perhaps with ``bind``, ``with_config``, ``with_retry`` or
            ``with_fallbacks``.
        question_key: Key of the question in the input.
        document_variable_name: Variable of the prompt that takes the documents.
        document_prompt: How a document is written; by default its ``page_content``.
        document_separator: Text between documents.

    Returns:
        A Runnable from ``{"question": ..., ...}`` to the model's message. The last streamed chunk's
        ``response_metadata["stream2llm"]`` holds timing and token counts. Callbacks and
        ``astream_events`` get a custom event ``"stream2llm.context"`` with each delta.

    Raises:
        PromptTemplateError: The prompt has no such variable.
    """
    if document_variable_name not in prompt.input_variables:
        msg = (
            f"the prompt has no variable {document_variable_name!r} for the documents, only"
            f" {prompt.input_variables}; add it or give document_variable_name"
        )
        raise PromptTemplateError(msg)
    return _StreamingRagChain(
        retriever=retriever,
        prompt=prompt,
        llm=reading_live_prompts(llm),
        question_key=question_key,
        document_variable_name=document_variable_name,
        document_prompt=document_prompt or DEFAULT_DOCUMENT_PROMPT,
        document_separator=document_separator,
    )


class _StreamingRagChain(RunnableSerializable[dict[str, Any], BaseMessage]):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str | None = "streaming_rag_chain"
    retriever: Runnable[str, list[Document]]
    prompt: SkipValidation[BasePromptTemplate[Any]]
    llm: Runnable[Any, Any]
    question_key: str
    document_variable_name: str
    document_prompt: SkipValidation[BasePromptTemplate[str]]
    document_separator: str

    def invoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> BaseMessage:
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> BaseMessage:
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[BaseMessage]:
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[BaseMessage]:
        async with aclosing(self.atransform(_once(input), config, **kwargs)) as chunks:
            async for chunk in chunks:
                yield chunk

    def transform(
        self,
        input: Iterator[dict[str, Any]],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[BaseMessage]:
        yield from self._transform_stream_with_config(input, self._transform, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[dict[str, Any]],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[BaseMessage, None]:
        chunks = self._atransform_stream_with_config(input, self._atransform, config, **kwargs)
        async with aclosing(cast("AsyncGenerator[BaseMessage, None]", chunks)):
            async for chunk in chunks:
                yield chunk

    def _invoke(
        self,
        values: dict[str, Any],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> BaseMessage:
        live = self._open(values)
        with feeding_in_background(live, self._retrieve(values, config)):
            message = self.llm.invoke(LivePromptValue(live=live), config, **kwargs)
        return cast("BaseMessage", message)

    async def _ainvoke(
        self,
        values: dict[str, Any],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> BaseMessage:
        live = self._open(values)
        async with feeding(live, self._retrieve(values, config)):
            message = await self.llm.ainvoke(LivePromptValue(live=live), config, **kwargs)
        return cast("BaseMessage", message)

    def _transform(
        self,
        inputs: Iterator[dict[str, Any]],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[BaseMessage]:
        values = _sum(list(inputs))
        live = self._open(values)
        with feeding_in_background(live, self._retrieve(values, config)):
            yield from self.llm.stream(LivePromptValue(live=live), config, **kwargs)

    async def _atransform(
        self,
        inputs: AsyncIterator[dict[str, Any]],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[BaseMessage]:
        values = _sum([chunk async for chunk in inputs])
        live = self._open(values)
        answer = self.llm.astream(LivePromptValue(live=live), config, **kwargs)
        async with (
            feeding(live, self._retrieve(values, config)),
            aclosing(cast("AsyncGenerator[BaseMessage, None]", answer)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    def _open(self, values: dict[str, Any]) -> LivePrompt:
        if self.question_key not in values:
            msg = f"the input has no {self.question_key!r}, only {sorted(values)}; add the question"
            raise InvalidRequestError(msg)
        context_format = ContextFormat(self.document_prompt, self.document_separator)
        return LivePrompt(
            ContextPrompt.from_template(
                self.prompt, values, self.document_variable_name, context_format
            )
        )

    async def _retrieve(
        self, values: dict[str, Any], config: RunnableConfig
    ) -> AsyncGenerator[list[Document], None]:
        found = self.retriever.astream(values[self.question_key], config)
        async with aclosing(cast("AsyncGenerator[list[Document], None]", found)):
            async for documents in found:
                await adispatch_custom_event(CONTEXT_EVENT, documents, config=config)
                yield documents


def _sum(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(sum((AddableDict(chunk) for chunk in chunks), AddableDict()))


async def _once(values: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield values
