"""Finding the nodes of an answer in the background, and moving them into live nodes."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

from llama_index_instrumentation import get_dispatcher

from llama_index.llms.stream2llm._background import run_retrieval
from llama_index.llms.stream2llm._nodes import NodeUpdate, announce, nodes_after
from llama_index.llms.stream2llm._postprocessors import Postprocessing, postprocessed
from llama_index.llms.stream2llm._streams import Work
from llama_index.llms.stream2llm._wrapped import WrappedRetriever
from llama_index.llms.stream2llm.retrievers import StreamingRetriever
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.sources import typed_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import NodeWithScore, QueryBundle

    from llama_index.llms.stream2llm._live_nodes import LiveNodes
    from stream2llm_rag.prompt import DocumentOrder

__all__ = ["StreamedRetrieval"]

dispatcher = get_dispatcher(__name__)


class StreamedRetrieval:
    """A retriever and its postprocessors.

    Args:
        retriever: Any retriever.
        postprocessors: What its nodes go through, in this order.
    """

    def __init__(
        self, retriever: BaseRetriever, postprocessors: Sequence[BaseNodePostprocessor]
    ) -> None:
        self._source = StreamingRetriever.wrap(retriever)
        self._postprocessing = Postprocessing.of(postprocessors)

    @property
    def order(self) -> DocumentOrder:
        """Where nodes stand in the prompt."""
        return self._source.order

    def warn(self) -> None:
        """Says what the postprocessors do to the overlap; to be called by a constructor."""
        streams = not isinstance(self._source, WrappedRetriever)
        self._postprocessing.warn(self.order, streams=streams)

    def start(
        self,
        live: LiveNodes,
        query_bundle: QueryBundle,
        fallback: Sequence[NodeWithScore] = (),
    ) -> None:
        """Starts to search on the running loop; stops when ``live`` is abandoned.

        Args:
            live: Where the nodes go.
            query_bundle: What to search for.
            fallback: Nodes to take if none is found.
        """
        feeding = self.stream(live, self._source, query_bundle, fallback)
        live.on_abandon(Work(feeding).stop)

    def start_in_background(
        self,
        live: LiveNodes,
        query_bundle: QueryBundle,
        fallback: Sequence[NodeWithScore] = (),
    ) -> None:
        """Does what ``start`` does, for a caller without a loop."""

        async def start() -> None:
            source = self._source.for_sync_callers()
            live.on_abandon(Work(self.stream(live, source, query_bundle, fallback)).stop)

        run_retrieval(start())

    @dispatcher.span
    async def stream(
        self,
        live: LiveNodes,
        source: StreamingRetriever,
        query_bundle: QueryBundle,
        fallback: Sequence[NodeWithScore],
    ) -> None:
        """Moves nodes until there are no more; observers see it as a span."""
        with _closing(live):
            async with aclosing(self._changes(source, query_bundle)) as changes:
                async for change in changes:
                    live.change(change)
            if not live.nodes:
                live.change(list(fallback))

    async def _changes(
        self, source: StreamingRetriever, query_bundle: QueryBundle
    ) -> AsyncGenerator[list[NodeWithScore], None]:
        """What the retriever yields, postprocessed."""
        per_node, list_wise, barrier = self._postprocessing
        found: list[NodeWithScore] = []
        async with aclosing(source.astream_retrieve(query_bundle)) as changes:
            async for change in changes:
                nodes = await postprocessed(per_node, list(change), query_bundle)
                if isinstance(change, NodeUpdate):
                    nodes = NodeUpdate(nodes)
                found, nodes = nodes_after(found, nodes)
                if not barrier:
                    yield nodes
        if list_wise and found:
            ranked = NodeUpdate(await postprocessed(list_wise, list(found), query_bundle))
            if barrier:
                yield list(ranked)
            else:
                announce(found, ranked)
                yield ranked


@contextmanager
def _closing(live: LiveNodes) -> Iterator[None]:
    """Says at the end how the retrieval went."""
    try:
        with typed_errors("the retriever"):
            yield
    except Exception as error:  # noqa: BLE001 - raised by whoever reads the nodes
        live.fail(error)
    except BaseException:
        live.fail(ContextSourceError("the retrieval was cancelled: ask again"))
        raise
    else:
        live.finish()
