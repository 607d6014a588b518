import functools
from collections.abc import Awaitable, Callable, Sequence

import pytest

from stream2llm_rag import Append, ContextSourceError, Document, Update
from stream2llm_rag.sources import ContextSource, from_retriever, rerank
from tests.rag.builders import append, update


async def collect(source: ContextSource) -> list[Append | Update]:
    return [event async for event in source.stream("q")]


def best_two(query: str, ranked: Sequence[Document]) -> list[Document]:
    assert query == "q"
    return sorted(ranked, key=lambda document: document.id, reverse=True)[:2]


async def best_two_async(query: str, ranked: Sequence[Document]) -> list[Document]:
    return best_two(query, ranked)


@pytest.mark.parametrize("reranker", [best_two, best_two_async, functools.partial(best_two_async)])
async def test_events_pass_and_an_update_comes_last(
    reranker: Callable[
        [str, Sequence[Document]], Sequence[Document] | Awaitable[Sequence[Document]]
    ],
) -> None:
    source = from_retriever([append("a", "b"), append("c")])
    assert await collect(rerank(source, reranker)) == [
        append("a", "b"),
        append("c"),
        update("c", "b"),
    ]


async def test_the_reranker_sees_the_final_documents() -> None:
    source = from_retriever([append("a", "b", "c"), update("b", "a")])
    assert (await collect(rerank(source, best_two)))[-1] == update("b", "a")


async def test_nothing_found_is_not_reranked() -> None:
    assert await collect(rerank(from_retriever([]), best_two)) == []


async def test_a_failing_reranker_is_a_typed_error() -> None:
    with pytest.raises(ContextSourceError, match="reranker failed"):
        await collect(rerank(from_retriever([append("a")]), lambda query, ranked: 1 / 0))  # type: ignore[arg-type,return-value]
