"""One turn of a chat: its prompt, its answer's way into the memory, its response."""

from __future__ import annotations

from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
from llama_index.core.instrumentation.events.chat_engine import (
    StreamChatDeltaReceivedEvent,
    StreamChatEndEvent,
    StreamChatErrorEvent,
    StreamChatStartEvent,
)
from llama_index.core.tools import ToolOutput
from llama_index_instrumentation import get_dispatcher

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatResponseAsyncGen, ChatResponseGen
    from llama_index.core.memory import BaseMemory

    from llama_index.llms.stream2llm._live_answer import LiveAnswer
    from llama_index.llms.stream2llm._live_nodes import LiveNodes

__all__ = ["ChatTurn", "StreamingChatResponse"]

dispatcher = get_dispatcher(__name__)


@dataclass
class StreamingChatResponse(StreamingAgentChatResponse):
    """LlamaIndex's streamed chat response, with metadata.

    Attributes:
        metadata: Metadata of the nodes by id; token counts and times as ``"stream2llm"``.
    """

    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ChatTurn:
    """A message that is being answered.

    It goes into the memory together with its answer, so that a turn which fails or is left leaves
    the conversation as it was.

    Attributes:
        message: What was asked.
        answer: The call of the model.
        memory: The conversation.
        sources: What the response reports; filled at the end.
        text: The complete answer, once somebody waited for it.
    """

    message: str
    answer: LiveAnswer
    memory: BaseMemory
    sources: list[ToolOutput] = field(default_factory=list)
    text: str | None = None

    @property
    def live(self) -> LiveNodes:
        """The nodes."""
        return self.answer.live

    def respond(self) -> AgentChatResponse:
        """Waits for the answer."""
        self.text = str(self.answer.complete())
        for message in self._messages(self.text):
            self.memory.put(message)
        return self._response(self.text)

    async def arespond(self) -> AgentChatResponse:
        """Waits for the answer."""
        self.text = str(await self.answer.acomplete())
        for message in self._messages(self.text):
            await self.memory.aput(message)
        return self._response(self.text)

    def stream(self) -> StreamingChatResponse:
        """Starts the answer."""
        pieces = self._remembered(self.answer.stream())
        return self._streamed(chat_stream=pieces)

    async def astream(self) -> StreamingChatResponse:
        """Starts the answer."""
        pieces = self._aremembered(await self.answer.astream())
        return self._streamed(achat_stream=pieces)

    def _remembered(self, pieces: ChatResponseGen) -> ChatResponseGen:
        text = ""
        dispatcher.event(StreamChatStartEvent())
        try:
            with closing(pieces):
                for piece in pieces:
                    text += _told(piece.delta)
                    yield piece
            for message in self._messages(text):
                self.memory.put(message)
        except Exception as error:
            dispatcher.event(StreamChatErrorEvent(exception=error))
            raise
        dispatcher.event(StreamChatEndEvent())

    async def _aremembered(self, pieces: ChatResponseAsyncGen) -> ChatResponseAsyncGen:
        text = ""
        dispatcher.event(StreamChatStartEvent())
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    text += _told(piece.delta)
                    yield piece
            for message in self._messages(text):
                await self.memory.aput(message)
        except Exception as error:
            dispatcher.event(StreamChatErrorEvent(exception=error))
            raise
        dispatcher.event(StreamChatEndEvent())

    def _messages(self, text: str) -> list[ChatMessage]:
        """The turn as it is remembered; with it the sources are final."""
        nodes = self.live.nodes
        self.sources.append(
            ToolOutput(
                tool_name="retriever",
                content=str(nodes),
                raw_input={"message": self.message},
                raw_output=nodes,
            )
        )
        return [
            ChatMessage(role=MessageRole.USER, content=self.message),
            ChatMessage(role=MessageRole.ASSISTANT, content=text),
        ]

    def _response(self, text: str) -> AgentChatResponse:
        return AgentChatResponse(
            response=text,
            sources=self.sources,
            source_nodes=self.live.nodes,
            metadata=self.live.metadata,
        )

    def _streamed(self, **pieces: Any) -> StreamingChatResponse:
        return StreamingChatResponse(
            sources=self.sources,
            source_nodes=self.live.nodes,
            metadata=self.live.metadata,
            # LlamaIndex's own way polls in a busy loop; here the reader itself gets every piece.
            is_writing_to_memory=False,
            **pieces,
        )


def _told(delta: str | None) -> str:
    if delta:
        dispatcher.event(StreamChatDeltaReceivedEvent(delta=delta))
    return delta or ""
