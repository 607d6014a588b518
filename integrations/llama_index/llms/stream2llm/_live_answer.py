"""One call of the model on nodes that are still arriving."""

from __future__ import annotations

from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole

from llama_index.llms.stream2llm._live_nodes import LiveNodes, NoNodesFoundError
from llama_index.llms.stream2llm._structured import guided, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llama_index.core.base.llms.types import ChatResponseAsyncGen, ChatResponseGen
    from pydantic import BaseModel

    from llama_index.llms.stream2llm.base import Stream2LLM

__all__ = ["EMPTY_RESPONSE", "LiveAnswer"]

EMPTY_RESPONSE = "Empty Response"
"""What LlamaIndex says if nothing is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """One call of the model on all nodes of a retrieval.

    Attributes:
        llm: The model.
        messages: The prompt, with ``SENTINEL`` where the nodes go.
        live: The nodes; the answer's figures become their metadata.
        empty_response: What to answer if there are none.
        output_cls: What the answer has to be, if it is not text.
        options: Of the call, as the model's methods take them.
    """

    llm: Stream2LLM
    messages: list[ChatMessage]
    live: LiveNodes
    empty_response: str = EMPTY_RESPONSE
    output_cls: type[BaseModel] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def abandoned_on_error(self) -> Iterator[LiveAnswer]:
        """Stops all work if the block fails."""
        try:
            yield self
        except BaseException:
            self.live.abandon()
            raise

    def complete(self) -> str | BaseModel:
        """Returns the answer."""
        try:
            return self._read(self.llm.chat(self.messages, **self._options()))
        except NoNodesFoundError:
            return self.empty_response

    async def acomplete(self) -> str | BaseModel:
        """Returns the answer."""
        try:
            return self._read(await self.llm.achat(self.messages, **self._options()))
        except NoNodesFoundError:
            return self.empty_response

    def stream(self) -> ChatResponseGen:
        """Starts the answer and returns its pieces."""
        return self._reported(self.llm.stream_chat(self.messages, **self._options()))

    async def astream(self) -> ChatResponseAsyncGen:
        """Starts the answer and returns its pieces."""
        return self._areported(await self.llm.astream_chat(self.messages, **self._options()))

    def _options(self) -> dict[str, Any]:
        options = dict(self.options)
        if self.output_cls is not None:
            options = guided(self.output_cls, options)
        return {**options, "live_nodes": self.live}

    def _reported(self, responses: ChatResponseGen) -> ChatResponseGen:
        try:
            with closing(responses):
                for response in responses:
                    self._report(response)
                    yield response
        except NoNodesFoundError:
            yield self._nothing()
        finally:
            self.live.abandon()

    async def _areported(self, responses: ChatResponseAsyncGen) -> ChatResponseAsyncGen:
        try:
            async with aclosing(responses):
                async for response in responses:
                    self._report(response)
                    yield response
        except NoNodesFoundError:
            yield self._nothing()
        finally:
            self.live.abandon()

    def _read(self, response: ChatResponse) -> str | BaseModel:
        self._report(response)
        if self.output_cls is not None:
            return parsed(self.output_cls, response)
        return response.message.content or ""

    def _report(self, response: ChatResponse) -> None:
        if response.raw is not None:
            self.live.metadata["stream2llm"] = response.raw["stream2llm"]

    def _nothing(self) -> ChatResponse:
        message = ChatMessage(role=MessageRole.ASSISTANT, content=self.empty_response)
        return ChatResponse(message=message, delta=self.empty_response)
