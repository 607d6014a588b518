"""The chain as a Runnable: what its methods have in common, and what is their own."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    CallbackManagerForChainRun,
    adispatch_custom_event,
)
from langchain_core.documents import Document
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig, RunnableSerializable
from pydantic import ConfigDict, SkipValidation

from langchain_stream2llm._context_prompt import ContextFormat, ContextPrompt
from langchain_stream2llm._feed import feeding, feeding_in_background
from langchain_stream2llm._live_prompt import LivePrompt, LivePromptValue
from langchain_stream2llm._scheduling import scheduling_of
from langchain_stream2llm._sourced import AsyncParts, Parts
from stream2llm_engine.errors import InvalidRequestError

__all__ = ["CONTEXT_EVENT", "StreamingRagChain"]

CONTEXT_EVENT = "stream2llm.context"
"""Name of the custom event that reports to callbacks and ``astream_events`` what was retrieved."""

_Values = dict[str, Any]


class StreamingRagChain(RunnableSerializable[_Values, Any]):
    """Retrieves into a live prompt while the model already has it.

    See ``create_streaming_rag_chain``, which makes it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str | None = "streaming_rag_chain"
    retriever: Runnable[str, list[Document]]
    prompt: SkipValidation[BasePromptTemplate[Any]]
    llm: Runnable[Any, Any]
    query: Runnable[_Values, str] | None
    return_sources: bool
    question_key: str
    document_variable_name: str
    document_prompt: SkipValidation[BasePromptTemplate[str]]
    document_separator: str

    def invoke(self, input: _Values, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Answers, retrieving meanwhile."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(
        self, input: _Values, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Answers, retrieving meanwhile."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(
        self, input: _Values, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Streams the answer, behind its sources if they are wanted."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self, input: _Values, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Streams the answer, behind its sources if they are wanted."""
        async with aclosing(self.atransform(_once(input), config, **kwargs)) as chunks:
            async for chunk in chunks:
                yield chunk

    def transform(
        self, input: Iterator[_Values], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Streams the answer to an input that comes in pieces, once it is complete."""
        yield from self._transform_stream_with_config(input, self._transform, config, **kwargs)

    async def atransform(
        self, input: AsyncIterator[_Values], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        """Streams the answer to an input that comes in pieces, once it is complete."""
        chunks = self._atransform_stream_with_config(input, self._atransform, config, **kwargs)
        async with aclosing(cast("AsyncGenerator[Any, None]", chunks)):
            async for chunk in chunks:
                yield chunk

    def _invoke(
        self,
        values: _Values,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        live = self._open(values)
        options = {**scheduling_of(config), **kwargs}
        with feeding_in_background(live, self._retrieve(values, config)):
            answer = self.llm.invoke(LivePromptValue(live=live), config, **options)
        return self._output(values, live, answer)

    async def _ainvoke(
        self,
        values: _Values,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        live = self._open(values)
        options = {**scheduling_of(config), **kwargs}
        async with feeding(live, self._retrieve(values, config)):
            answer = await self.llm.ainvoke(LivePromptValue(live=live), config, **options)
        return self._output(values, live, answer)

    def _transform(
        self,
        inputs: Iterator[_Values],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Any]:
        values = _sum(list(inputs))
        live = self._open(values)
        options = {**scheduling_of(config), **kwargs}
        answer: Iterator[Any] = self.llm.stream(LivePromptValue(live=live), config, **options)
        found: Callable[[list[Document]], None] | None = None
        if self.return_sources:
            yield AddableDict(values)
            parts = Parts()
            answer, found = parts.with_answer(answer), parts.found
        with feeding_in_background(live, self._retrieve(values, config, found)):
            yield from answer

    async def _atransform(
        self,
        inputs: AsyncIterator[_Values],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        values = _sum([chunk async for chunk in inputs])
        live = self._open(values)
        options = {**scheduling_of(config), **kwargs}
        answer = cast(
            "AsyncGenerator[Any, None]",
            self.llm.astream(LivePromptValue(live=live), config, **options),
        )
        found: Callable[[list[Document]], None] | None = None
        if self.return_sources:
            yield AddableDict(values)
            parts = AsyncParts()
            answer, found = parts.with_answer(answer), parts.found
        async with (
            feeding(live, self._retrieve(values, config, found)),
            aclosing(answer) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    def _open(self, values: _Values) -> LivePrompt:
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
        self,
        values: _Values,
        config: RunnableConfig,
        found: Callable[[list[Document]], None] | None = None,
    ) -> AsyncGenerator[list[Document], None]:
        query = values[self.question_key]
        if self.query is not None:
            query = await self.query.ainvoke(values, config)
        deltas = self.retriever.astream(query, config)
        async with aclosing(cast("AsyncGenerator[list[Document], None]", deltas)):
            async for documents in deltas:
                await adispatch_custom_event(CONTEXT_EVENT, documents, config=config)
                if found is not None:
                    found(documents)
                yield documents

    def _output(self, values: _Values, live: LivePrompt, answer: Any) -> Any:
        if not self.return_sources:
            return answer
        return {**values, "context": list(live.documents), "answer": answer}


def _sum(chunks: list[_Values]) -> _Values:
    return dict(sum((AddableDict(chunk) for chunk in chunks), AddableDict()))


async def _once(values: _Values) -> AsyncIterator[_Values]:
    yield values
