"""LlamaIndex's fusion retriever streams, and ends with what it would have returned."""

import asyncio
import threading
from contextlib import aclosing
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.llms.stream2llm import NodeUpdate, Stream2LLM, StreamingRetriever
from stream2llm_rag import ContextSourceError
from tests.integrations.llama_index.fakes import FakeEngine, Gate, ScriptedRetriever, node


class Scored(BaseRetriever):
    """Finds nodes by the query's first word; has no async implementation."""

    def __init__(self, **found: list[tuple[str, float]]) -> None:
        super().__init__()
        self.found = found
        self.threads: set[threading.Thread] = set()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.threads.add(threading.current_thread())
        pairs = self.found.get(query_bundle.query_str.split()[0], [])
        return [node(text, score) for text, score in pairs]


class Writer(MockLLM):
    """Writes the other queries when it may."""

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return self.complete(prompt, formatted, **kwargs)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        response = super().complete("other one\nlast one", formatted, **kwargs)
        assert "first one" in prompt
        return response


def members() -> list[BaseRetriever]:
    return [
        Scored(first=[("a", 0.9), ("b", 0.4)], other=[("c", 0.8)], last=[("a", 0.3)]),
        Scored(first=[("b", 0.7), ("d", 0.2)], other=[("d", 0.6), ("a", 0.5)]),
    ]


def fused(retrievers: list[BaseRetriever], **options: Any) -> QueryFusionRetriever:
    options = {"num_queries": 1, "similarity_top_k": 3, "llm": MockLLM(), **options}
    return QueryFusionRetriever(retrievers, **options)


def listed(nodes: list[NodeWithScore]) -> list[tuple[str, float]]:
    return [(each.text, round(each.score or 0.0, 6)) for each in nodes]


async def changes_of(fusion: QueryFusionRetriever) -> list[list[NodeWithScore]]:
    retriever = StreamingRetriever.wrap(fusion)
    return [each async for each in retriever.astream_retrieve("first one")]


@pytest.mark.parametrize("mode", list(FUSION_MODES))
@pytest.mark.parametrize("num_queries", [1, 3])
async def test_it_ends_with_what_the_fusion_itself_returns(
    mode: FUSION_MODES, num_queries: int
) -> None:
    options = {"mode": mode, "num_queries": num_queries, "llm": Writer(max_tokens=None)}
    options["retriever_weights"] = [0.7, 0.3]
    expected = listed(await fused(members(), **options).aretrieve("first one"))
    changes = await changes_of(fused(members(), **options))
    assert all(isinstance(each, NodeUpdate) and len(each) <= 3 for each in changes)
    assert listed(changes[-1]) == expected
    wrapped = StreamingRetriever.wrap(fused(members(), **options))
    assert listed(await wrapped.aretrieve("first one")) == expected
    assert listed(wrapped.retrieve("first one")) == expected


async def test_members_are_heard_as_they_find() -> None:
    gates = [Gate(), Gate()]
    for gate in gates:
        gate.open = False
    slow = ScriptedRetriever([gates[0], [node("a", 0.9)], gates[1], [node("b", 0.95)]])
    retriever = StreamingRetriever.wrap(fused([slow, Scored(first=[("c", 0.5), ("d", 0.1)])]))
    changes = retriever.astream_retrieve("first one")
    assert [text for text, _ in listed(await anext(changes))] == ["c", "d"]
    gates[0].open = True
    assert [text for text, _ in listed(await anext(changes))] == ["a", "c", "d"]
    gates[1].open = True
    assert [text for text, _ in listed(await anext(changes))] == ["b", "a", "c"]
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_the_query_itself_is_searched_while_the_model_writes_others() -> None:
    written = asyncio.Event()

    class Slow(Writer):
        async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            await written.wait()
            return self.complete(prompt, formatted, **kwargs)

    retriever = StreamingRetriever.wrap(fused(members(), num_queries=3, llm=Slow(max_tokens=None)))
    changes = retriever.astream_retrieve("first one")
    assert await anext(changes)
    written.set()
    last = [each async for each in changes][-1]
    assert listed(last) == listed(
        await fused(members(), num_queries=3, llm=Writer(max_tokens=None)).aretrieve("first one")
    )


async def test_members_that_block_run_in_threads() -> None:
    retrievers: Any = members()
    await changes_of(fused(retrievers))
    for retriever in retrievers:
        assert retriever.threads
        assert threading.main_thread() not in retriever.threads


@pytest.mark.parametrize("how", ["aretrieve", "retrieve"])
async def test_an_error_of_a_member_is_one_of_all(how: str) -> None:
    never = Gate()
    never.open = False
    waiting = ScriptedRetriever([[node("a")], never])
    broken = ScriptedRetriever([ConnectionError("gone")])
    retriever = StreamingRetriever.wrap(fused([waiting, broken]))
    with pytest.raises(ContextSourceError, match="gone"):
        retriever.retrieve("q") if how == "retrieve" else await retriever.aretrieve("q")
    assert waiting.closed == broken.closed == 1


async def test_an_error_of_the_model_is_one_too() -> None:
    class Broken(Writer):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            raise ConnectionError("no model")

    with pytest.raises(ContextSourceError, match="no model"):
        await changes_of(fused(members(), num_queries=2, llm=Broken(max_tokens=None)))


async def test_leaving_ends_every_search() -> None:
    never = Gate()
    never.open = False
    searches = [ScriptedRetriever([[node(name)], never]) for name in "ab"]
    retriever = StreamingRetriever.wrap(
        fused(list(searches), num_queries=2, llm=Writer(max_tokens=None))
    )
    async with aclosing(retriever.astream_retrieve("first one")) as changes:
        await anext(changes)
    assert all(search.closed for search in searches)
    me = asyncio.current_task()
    assert [task for task in asyncio.all_tasks() if task is not me and not task.done()] == []


async def test_members_may_be_indices_and_the_model_our_own(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    engine.reply = lambda _: "beta?\ngamma?"
    indices = [
        VectorStoreIndex.from_documents(
            [Document(text=text, id_=text)], embed_model=MockEmbedding(embed_dim=4)
        )
        for text in ("alpha", "beta")
    ]
    fusion = fused([index.as_retriever() for index in indices], llm=llm, num_queries=3)
    retriever = StreamingRetriever.wrap(fusion)
    for found in (await retriever.aretrieve("alpha?"), retriever.retrieve("alpha?")):
        assert sorted(text for text, _ in listed(found)) == ["alpha", "beta"]
    assert "Generate 2 search queries" in engine.sessions[0].prompt


async def test_a_fusion_of_your_own_is_called_whole() -> None:
    class Own(QueryFusionRetriever):
        async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [node("own")]

    (change,) = await changes_of(Own(members(), llm=MockLLM(), num_queries=1))
    assert [each.text for each in change] == ["own"]


def test_the_order_follows_the_fusion_unless_it_is_to_stay() -> None:
    fusion = fused(members())
    assert StreamingRetriever.wrap(fusion).order == "rank"
    assert StreamingRetriever.wrap(fusion, order="stable").order == "stable"
