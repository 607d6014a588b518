"""The side of the chat model that LangChain sees: how live prompts get in."""

from abc import ABC
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Any, Self, cast

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig

from langchain_stream2llm._feed import feeding, feeding_from_thread
from langchain_stream2llm._live_prompt import (
    LivePrompt,
    LivePromptValue,
    find_live_prompt,
    open_live_prompt,
)
from langchain_stream2llm._streamed_prompt import StreamedPromptValue

__all__ = ["LiveChatModel"]


class LiveChatModel(BaseChatModel, ABC):
    """A chat model whose methods find live prompts with ``find_live_prompt`` in the messages."""

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        if isinstance(model_input, LivePromptValue):
            return open_live_prompt(model_input.live)
        return super()._convert_input(model_input)

    # A prompt that arrives in pieces becomes a live prompt, and LangChain's own streaming does the
    # rest: callbacks, usage and events stay as they are for any other prompt.

    def transform(
        self,
        input: Iterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessage]:
        """Answers a prompt that arrives in pieces, computing each as it comes."""
        first = next(input, None)
        if not isinstance(first, StreamedPromptValue) or first.prompt is None:
            yield from super().transform(
                chain([first] if first is not None else [], input), config, **kwargs
            )
            return
        live = LivePrompt(first.prompt)
        live.add(first.documents)
        with feeding_from_thread(live, map(_documents, input)):
            yield from self.stream(LivePromptValue(live=live), config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessage]:
        """Answers a prompt that arrives in pieces, computing each as it comes."""
        first = await anext(input, None)
        if not isinstance(first, StreamedPromptValue) or first.prompt is None:
            async for chunk in super().atransform(_rejoined(first, input), config, **kwargs):
                yield chunk
            return
        live = LivePrompt(first.prompt)
        live.add(first.documents)
        answer = self.astream(LivePromptValue(live=live), config, **kwargs)
        async with (
            feeding(live, _adocuments(input)),
            aclosing(cast("AsyncGenerator[AIMessage, None]", answer)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    # LangChain's cache looks answers up by the messages, which for a live prompt are known too
    # late: two contexts would share one entry.

    def _generate_with_cache(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> ChatResult:
        model = self if find_live_prompt(messages) is None else self._uncached()
        return super(LiveChatModel, model)._generate_with_cache(messages, *args, **kwargs)

    async def _agenerate_with_cache(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> ChatResult:
        model = self if find_live_prompt(messages) is None else self._uncached()
        return await super(LiveChatModel, model)._agenerate_with_cache(messages, *args, **kwargs)

    def _uncached(self) -> Self:
        return self.model_copy(update={"cache": False})


def _documents(piece: LanguageModelInput) -> list[Document]:
    return cast("StreamedPromptValue", piece).documents


async def _adocuments(
    pieces: AsyncIterator[LanguageModelInput],
) -> AsyncGenerator[list[Document], None]:
    try:
        async for piece in pieces:
            yield _documents(piece)
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


async def _rejoined(
    first: LanguageModelInput | None, rest: AsyncIterator[LanguageModelInput]
) -> AsyncIterator[LanguageModelInput]:
    if first is not None:
        yield first
    async for piece in rest:
        yield piece
