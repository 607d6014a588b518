"""Moving what a retriever finds into live nodes, in the background."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

from llama_index.llms.stream2llm._background import run_in_new_thread, run_retrieval
from llama_index.llms.stream2llm._streams import Work
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.sources import typed_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from llama_index.core.schema import NodeWithScore

    from llama_index.llms.stream2llm._live_nodes import LiveNodes

__all__ = ["feed", "feed_from_loop", "feed_from_thread"]


def feed(live: LiveNodes, found: AsyncGenerator[list[NodeWithScore], None]) -> None:
    """Starts to move nodes on the running loop; stops when ``live`` is abandoned."""
    live.on_abandon(Work(_feed(live, found)).stop)


def feed_from_loop(live: LiveNodes, found: AsyncGenerator[list[NodeWithScore], None]) -> None:
    """Does what ``feed`` does, for a caller without a loop."""

    async def start() -> None:
        feed(live, found)

    run_retrieval(start())


def feed_from_thread(live: LiveNodes, find: Callable[[], list[NodeWithScore]]) -> None:
    """Starts to call ``find`` in a thread, which cannot be stopped, only not listened to."""

    def run() -> None:
        with _closing(live):
            live.add(find())

    run_in_new_thread(run)


async def _feed(live: LiveNodes, found: AsyncGenerator[list[NodeWithScore], None]) -> None:
    with _closing(live):
        async with aclosing(found):
            async for nodes in found:
                live.add(nodes)


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
