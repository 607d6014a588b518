"""The query engine that overlaps retrieval and prefill."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any, cast

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import (
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
)
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.indices.base import BaseIndex
from llama_index.core.instrumentation.events.synthesis import (
    SynthesizeEndEvent,
    SynthesizeStartEvent,
)
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.settings import Settings
from llama_index.core.types import TokenAsyncGen, TokenGen
from llama_index_instrumentation import get_dispatcher

from llama_index.llms.stream2llm._live_nodes import LiveNodes, NoNodesFoundError
from llama_index.llms.stream2llm._postprocessors import Postprocessing, apply
from llama_index.llms.stream2llm._retrieval import feed, feed_from_loop, feed_from_thread
from llama_index.llms.stream2llm._synthesis import Synthesis, check_synthesizer
from llama_index.llms.stream2llm._wrapped import WrappedRetriever
from llama_index.llms.stream2llm.retrievers import StreamingRetriever

__all__ = ["StreamingQueryEngine", "as_streaming_query_engine"]

dispatcher = get_dispatcher(__name__)


class StreamingQueryEngine(RetrieverQueryEngine):
    """A ``RetrieverQueryEngine`` whose model reads nodes while the retriever still searches.

    Made by ``from_args`` with the same arguments; the LLM is a ``Stream2LLM``, the response mode
    ``compact`` or ``simple_summarize``. All nodes go into one prompt: where ``compact`` would call
    the model again, nodes that do not fit are left out. ``response.source_nodes`` is what is in
    the prompt, ``response.metadata["stream2llm"]`` the token counts and times, with ``left_out``.

    A streamed response returns at once; its ``source_nodes`` fill up while nodes arrive. Dropping
    it, or closing its generator, ends the retrieval and the answer.

    Args:
        retriever: Where nodes come from. With a ``StreamingRetriever`` prefill overlaps the
            retrieval; of any other only the prompt's head is computed early.
        response_synthesizer: The model, the prompt and whether to stream.
        node_postprocessors: Those that treat every node on its own run on nodes as they arrive.
            One that needs the whole list keeps the model waiting, which a warning says.
        callback_manager: Who hears of events.

    Raises:
        UnsupportedFeatureError: The synthesizer's model or mode cannot be streamed into.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        response_synthesizer: BaseSynthesizer | None = None,
        node_postprocessors: list[BaseNodePostprocessor] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(retriever, response_synthesizer, node_postprocessors, callback_manager)
        check_synthesizer(self._response_synthesizer)
        self._source = StreamingRetriever.wrap(retriever)
        self._postprocessing = Postprocessing.of(self._node_postprocessors)
        if not isinstance(self._source, WrappedRetriever):
            self._postprocessing.warn()

    def with_retriever(self, retriever: BaseRetriever) -> "StreamingQueryEngine":
        """Returns the same engine on another retriever."""
        return StreamingQueryEngine(
            retriever, self._response_synthesizer, self._node_postprocessors, self.callback_manager
        )

    @dispatcher.span
    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with self._observed(query_bundle) as seen, self._prepared(query_bundle) as (call, live):
            if isinstance(self._source, WrappedRetriever):
                feed_from_thread(live, lambda: self.retrieve(query_bundle))
            else:
                feed_from_loop(live, self._found(query_bundle))
            response: RESPONSE_TYPE
            if self._streaming:
                tokens = self._tokens(call.llm.stream_chat(call.messages, live_nodes=live), live)
                response = StreamingResponse(tokens, live.nodes, live.metadata)
            else:
                try:
                    answer = _report(call.llm.chat(call.messages, live_nodes=live), live)
                except NoNodesFoundError:
                    answer = self._empty_response
                response = Response(answer, live.nodes, live.metadata)
            seen.append(response)
        return response

    @dispatcher.span
    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with self._observed(query_bundle) as seen, self._prepared(query_bundle) as (call, live):
            feed(live, self._found(query_bundle))
            response: RESPONSE_TYPE
            if self._streaming:
                responses = await call.llm.astream_chat(call.messages, live_nodes=live)
                tokens = self._atokens(responses, live)
                response = AsyncStreamingResponse(tokens, live.nodes, live.metadata)
            else:
                try:
                    answer = _report(await call.llm.achat(call.messages, live_nodes=live), live)
                except NoNodesFoundError:
                    answer = self._empty_response
                response = Response(answer, live.nodes, live.metadata)
            seen.append(response)
        return response

    def _tokens(self, responses: ChatResponseGen, live: LiveNodes) -> TokenGen:
        try:
            with closing(responses):
                for response in responses:
                    _report(response, live)
                    if response.delta:
                        yield response.delta
        except NoNodesFoundError:
            yield self._empty_response
        finally:
            live.abandon()

    async def _atokens(self, responses: ChatResponseAsyncGen, live: LiveNodes) -> TokenAsyncGen:
        try:
            async with aclosing(responses):
                async for response in responses:
                    _report(response, live)
                    if response.delta:
                        yield response.delta
        except NoNodesFoundError:
            yield self._empty_response
        finally:
            live.abandon()

    async def _found(self, query_bundle: QueryBundle) -> AsyncGenerator[list[NodeWithScore], None]:
        """The retriever's nodes, postprocessed."""
        per_node, list_wise = self._postprocessing
        held: list[NodeWithScore] = []
        async with aclosing(self._source.astream_retrieve(query_bundle)) as chunks:
            async for chunk in chunks:
                nodes = await apply(per_node, chunk, query_bundle)
                if list_wise:
                    held += nodes
                else:
                    yield nodes
        if held:
            yield await apply(list_wise, held, query_bundle)

    @property
    def _streaming(self) -> bool:
        return self._response_synthesizer._streaming

    @property
    def _empty_response(self) -> str:
        return self._response_synthesizer._empty_response

    @contextmanager
    def _prepared(self, query_bundle: QueryBundle) -> Iterator[tuple[Synthesis, LiveNodes]]:
        """The call of the model and the nodes for it; a block that fails stops all work."""
        call = Synthesis.of(self._response_synthesizer, query_bundle.query_str)
        live = LiveNodes(separator=call.separator)
        try:
            yield call, live
        except BaseException:
            live.abandon()
            raise

    @contextmanager
    def _observed(self, query_bundle: QueryBundle) -> Iterator[list[RESPONSE_TYPE]]:
        """Tells observers about the query; the block adds its response to the list."""
        asked: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        seen: list[RESPONSE_TYPE] = []
        manager = self.callback_manager
        with (
            manager.event(CBEventType.QUERY, payload=asked) as query,
            manager.event(CBEventType.SYNTHESIZE, payload=asked) as synthesis,
        ):
            dispatcher.event(SynthesizeStartEvent(query=query_bundle))
            yield seen
            (response,) = seen
            dispatcher.event(SynthesizeEndEvent(query=query_bundle, response=response))
            synthesis.on_end(payload={EventPayload.RESPONSE: response})
            query.on_end(payload={EventPayload.RESPONSE: response})


def as_streaming_query_engine(
    index: BaseIndex[Any], llm: LLM | None = None, **kwargs: Any
) -> StreamingQueryEngine:
    """Does what ``index.as_query_engine`` does, with a ``StreamingQueryEngine``.

    Args:
        index: Where to search.
        llm: A ``Stream2LLM``; that of ``Settings`` by default.
        **kwargs: Arguments of the index's retriever and of ``StreamingQueryEngine.from_args``.
    """
    engine = StreamingQueryEngine.from_args(
        index.as_retriever(**kwargs), llm=llm or Settings.llm, **kwargs
    )
    return cast("StreamingQueryEngine", engine)


def _report(response: ChatResponse, live: LiveNodes) -> str:
    """Returns the text so far; the last response's figures become metadata."""
    if response.raw is not None:
        live.metadata["stream2llm"] = response.raw["stream2llm"]
    return response.message.content or ""
