"""The query engine that overlaps retrieval and prefill."""

from contextlib import aclosing, closing
from copy import copy
from typing import Any, cast

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatResponseAsyncGen, ChatResponseGen
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.base import BaseIndex
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import QueryBundle
from llama_index.core.settings import Settings
from llama_index.core.types import TokenAsyncGen, TokenGen
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel

from llama_index.llms.stream2llm._live_answer import LiveAnswer
from llama_index.llms.stream2llm._live_nodes import LiveNodes
from llama_index.llms.stream2llm._observed import observed_query
from llama_index.llms.stream2llm._retrieval import StreamedRetrieval
from llama_index.llms.stream2llm._synthesis import check_synthesizer, live_answer

__all__ = ["StreamingQueryEngine", "as_streaming_query_engine"]

dispatcher = get_dispatcher(__name__)


class StreamingQueryEngine(RetrieverQueryEngine):
    """A ``RetrieverQueryEngine`` whose model reads nodes while the retriever still searches.

    Made by ``from_args`` with the same arguments; the LLM is a ``Stream2LLM``, the response mode
    ``compact`` or ``simple_summarize``. All nodes go into one prompt: where ``compact`` would call
    the model again, nodes that do not fit are left out, and a warning is logged.
    ``response.source_nodes`` is what is in the prompt, ``response.metadata["stream2llm"]`` the
    token counts and times, with ``left_out``.

    A streamed response returns at once; its ``source_nodes`` change while nodes arrive. Dropping
    it, or closing its generator, ends the retrieval and the answer.

    Args:
        retriever: Where nodes come from. With a ``StreamingRetriever`` prefill overlaps the
            retrieval, as with a ``QueryFusionRetriever``, whose members stream; of any other only
            the prompt's head is computed early.
        response_synthesizer: The model, the prompt and whether to stream.
        node_postprocessors: Those that treat every node on its own run on nodes as they arrive.
            LlamaIndex's rerankers run at the end, and what they keep replaces the nodes. Any other
            keeps the model waiting. A warning says so. A class of your own decides by a class
            variable, ``streaming_stage: ClassVar = "per_node"``, ``"update"`` or ``"barrier"``.
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
        self._retrieval = StreamedRetrieval(retriever, self._node_postprocessors)
        self._retrieval.warn()
        self._options: dict[str, Any] = {}

    def with_retriever(self, retriever: BaseRetriever) -> "StreamingQueryEngine":
        """Returns the same engine on another retriever."""
        engine = StreamingQueryEngine(
            retriever, self._response_synthesizer, self._node_postprocessors, self.callback_manager
        )
        return engine.with_options(**self._options)

    def with_options(self, **options: Any) -> "StreamingQueryEngine":
        """Returns the same engine for queries with other options, beside this one.

        ```python
        query_engine.with_options(tenant="acme", priority=-1, timeout=5).query("…")
        ```

        Args:
            **options: What the methods of the LLM take, which say whose query it is, how urgent,
                and how to answer it. They go before the LLM's own.
        """
        engine = copy(self)
        engine._options = {**self._options, **options}
        return engine

    @dispatcher.span
    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        answer = self._answer(query_bundle)
        with (
            observed_query(self.callback_manager, query_bundle) as responses,
            answer.abandoned_on_error(),
        ):
            self._retrieval.start_in_background(answer.live, query_bundle)
            response: RESPONSE_TYPE
            if self._response_synthesizer._streaming:
                tokens = _tokens(answer.stream())
                response = StreamingResponse(tokens, answer.live.nodes, answer.live.metadata)
            else:
                response = _response(answer.complete(), answer.live)
            responses.append(response)
        return response

    @dispatcher.span
    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        answer = self._answer(query_bundle)
        with (
            observed_query(self.callback_manager, query_bundle) as responses,
            answer.abandoned_on_error(),
        ):
            self._retrieval.start(answer.live, query_bundle)
            response: RESPONSE_TYPE
            if self._response_synthesizer._streaming:
                tokens = _atokens(await answer.astream())
                response = AsyncStreamingResponse(tokens, answer.live.nodes, answer.live.metadata)
            else:
                response = _response(await answer.acomplete(), answer.live)
            responses.append(response)
        return response

    def _answer(self, query_bundle: QueryBundle) -> LiveAnswer:
        return live_answer(
            self._response_synthesizer,
            query_bundle.query_str,
            self._retrieval.order,
            self._options,
        )


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


def _response(answer: str | BaseModel, live: LiveNodes) -> RESPONSE_TYPE:
    if isinstance(answer, BaseModel):
        return PydanticResponse(answer, live.nodes, live.metadata)
    return Response(answer, live.nodes, live.metadata)


def _tokens(responses: ChatResponseGen) -> TokenGen:
    with closing(responses):
        for response in responses:
            if response.delta:
                yield response.delta


async def _atokens(responses: ChatResponseAsyncGen) -> TokenAsyncGen:
    async with aclosing(responses):
        async for response in responses:
            if response.delta:
                yield response.delta
