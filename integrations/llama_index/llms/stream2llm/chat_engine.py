"""The chat engine that overlaps retrieval and prefill."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, cast

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.base.response.schema import Response
from llama_index.core.callbacks import CallbackManager, trace_method
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.indices.base import BaseIndex
from llama_index.core.llms import LLM
from llama_index.core.memory import BaseMemory
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.settings import Settings

from llama_index.llms.stream2llm._chat_turn import ChatTurn, StreamingChatResponse
from llama_index.llms.stream2llm._live_answer import LiveAnswer
from llama_index.llms.stream2llm._live_nodes import LiveNodes
from llama_index.llms.stream2llm._observed import observed_synthesis
from llama_index.llms.stream2llm._retrieval import StreamedRetrieval
from llama_index.llms.stream2llm._synthesis import check_messages, check_model, check_template
from stream2llm_rag.prompt import SENTINEL

__all__ = ["StreamingContextChatEngine", "as_streaming_chat_engine"]


class StreamingContextChatEngine(ContextChatEngine):
    """A ``ContextChatEngine`` whose model reads nodes while the retriever still searches.

    Made by ``from_defaults`` with the same arguments; the LLM is a ``Stream2LLM``. The prompt is
    that of ``ContextChatEngine``. All nodes go into it: those that do not fit are left out, and a
    warning is logged, where LlamaIndex would refine its answer by further calls.

    A streamed response returns at once; its ``source_nodes`` change while nodes arrive, and
    ``sources`` follows at the end. A turn goes into the memory when its answer is complete.
    Dropping the response ends retrieval and answer, and leaves the memory as it was.

    Args:
        retriever: See ``StreamingQueryEngine``.
        llm: The model.
        memory: The conversation.
        prefix_messages: What stands before it.
        node_postprocessors: See ``StreamingQueryEngine``.
        context_template: Text around the nodes, with ``{context_str}``.
        context_refine_template: Not used, as the answer is never refined.
        callback_manager: Who hears of events.

    Raises:
        PromptTemplateError: The template has not one place for the context.
        UnsupportedFeatureError: The model cannot be streamed into.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        llm: LLM,
        memory: BaseMemory,
        prefix_messages: list[ChatMessage],
        node_postprocessors: list[BaseNodePostprocessor] | None = None,
        context_template: str | PromptTemplate | None = None,
        context_refine_template: str | PromptTemplate | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(
            retriever,
            llm,
            memory,
            prefix_messages,
            node_postprocessors,
            context_template,
            context_refine_template,
            callback_manager,
        )
        self._model = check_model(llm)
        check_template(self._context_template)
        check_messages(self._prompt("", [])[:1])
        self._retrieval = StreamedRetrieval(retriever, self._node_postprocessors)
        self._retrieval.warn()
        self._options: dict[str, Any] = {}

    def with_options(self, **options: Any) -> "StreamingContextChatEngine":
        """Returns the same conversation with other options of the LLM's calls.

        See ``StreamingQueryEngine.with_options``.
        """
        engine = copy(self)
        engine._options = {**self._options, **options}
        return engine

    @trace_method("chat")
    def chat(
        self,
        message: str,
        chat_history: list[ChatMessage] | None = None,
        prev_chunks: list[NodeWithScore] | None = None,
    ) -> AgentChatResponse:
        """Answers a message.

        Args:
            message: The message.
            chat_history: Replaces the memory.
            prev_chunks: Nodes to answer from if none is found.
        """
        with self._turn(message, self._history(message, chat_history)) as turn:
            self._retrieval.start_in_background(turn.live, QueryBundle(message), prev_chunks or ())
            return turn.respond()

    @trace_method("chat")
    async def achat(
        self,
        message: str,
        chat_history: list[ChatMessage] | None = None,
        prev_chunks: list[NodeWithScore] | None = None,
    ) -> AgentChatResponse:
        """Answers a message; see ``chat``."""
        with self._turn(message, await self._ahistory(message, chat_history)) as turn:
            self._retrieval.start(turn.live, QueryBundle(message), prev_chunks or ())
            return await turn.arespond()

    @trace_method("chat")
    def stream_chat(
        self,
        message: str,
        chat_history: list[ChatMessage] | None = None,
        prev_chunks: list[NodeWithScore] | None = None,
    ) -> StreamingChatResponse:
        """Answers a message piece by piece; work starts with the call. See ``chat``."""
        with self._turn(message, self._history(message, chat_history)) as turn:
            self._retrieval.start_in_background(turn.live, QueryBundle(message), prev_chunks or ())
            return turn.stream()

    @trace_method("chat")
    async def astream_chat(
        self,
        message: str,
        chat_history: list[ChatMessage] | None = None,
        prev_chunks: list[NodeWithScore] | None = None,
    ) -> StreamingChatResponse:
        """Answers a message piece by piece; work starts with the call. See ``chat``."""
        with self._turn(message, await self._ahistory(message, chat_history)) as turn:
            self._retrieval.start(turn.live, QueryBundle(message), prev_chunks or ())
            return await turn.astream()

    def _history(self, message: str, replacement: list[ChatMessage] | None) -> list[ChatMessage]:
        if replacement is not None:
            self._memory.set(replacement)
        return self._memory.get(input=message)

    async def _ahistory(
        self, message: str, replacement: list[ChatMessage] | None
    ) -> list[ChatMessage]:
        if replacement is not None:
            await self._memory.aset(replacement)
        return await self._memory.aget(input=message)

    @contextmanager
    def _turn(self, message: str, history: Sequence[ChatMessage]) -> Iterator[ChatTurn]:
        """The turn, with observers around it; a block that fails stops all work."""
        answer = LiveAnswer(
            llm=self._model,
            messages=self._prompt(message, history),
            live=LiveNodes(order=self._retrieval.order),
            options=self._options,
        )
        turn = ChatTurn(message=message, answer=answer, memory=self._memory)
        with (
            observed_synthesis(self.callback_manager, QueryBundle(message)) as responses,
            answer.abandoned_on_error(),
        ):
            yield turn
            responses.append(Response(turn.text, turn.live.nodes, turn.live.metadata))

    def _prompt(self, message: str, history: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The conversation with ``SENTINEL`` where the nodes go.

        Written here, not by LlamaIndex's templates: those would fill in braces in what users say.
        """
        prefix = list(self._prefix_messages)
        system_prompt = ""
        if prefix and prefix[0].role == MessageRole.SYSTEM:
            system_prompt = (prefix.pop(0).content or "").strip()
        context = self._context_template.format(context_str=SENTINEL, query_str=message)
        return [
            ChatMessage(role=self._model.metadata.system_role, content=context + system_prompt),
            *prefix,
            *history,
            ChatMessage(role=MessageRole.USER, content=message),
        ]


def as_streaming_chat_engine(
    index: BaseIndex[Any], llm: LLM | None = None, **kwargs: Any
) -> StreamingContextChatEngine:
    """Does what ``index.as_chat_engine(chat_mode="context")`` does, streaming.

    Args:
        index: Where to search.
        llm: A ``Stream2LLM``; that of ``Settings`` by default.
        **kwargs: Arguments of the index's retriever and of
            ``StreamingContextChatEngine.from_defaults``.
    """
    engine = StreamingContextChatEngine.from_defaults(
        index.as_retriever(**kwargs), llm=llm or Settings.llm, **kwargs
    )
    return cast("StreamingContextChatEngine", engine)
