"""Postprocessors that see nodes one by one do not keep the model waiting; others do, and say so."""

from typing import Any, ClassVar

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.postprocessor import LongContextReorder, SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.llms.stream2llm import Stream2LLM, StreamingQueryEngine
from tests.integrations.llama_index.fakes import FakeEngine, ScriptedRetriever, node

HOW = ["query", "aquery"]


class Reverse(BaseNodePostprocessor):
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        assert query_bundle is not None
        return nodes[::-1]


class ReversePerNode(Reverse):
    per_node: ClassVar[bool] = True


class Strict(SimilarityPostprocessor):
    """A subclass may look at the whole list."""


async def ask(llm: Stream2LLM, retriever: Any, how: str, *postprocessors: Any) -> list[str]:
    query_engine = StreamingQueryEngine.from_args(
        retriever, llm=llm, node_postprocessors=list(postprocessors)
    )
    response = query_engine.query("q") if how == "query" else await query_engine.aquery("q")
    return [source.text for source in response.source_nodes]


@pytest.mark.parametrize("how", HOW)
async def test_per_node_postprocessors_run_on_nodes_as_they_arrive(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    chunks = [[node("low", 0.1), node("a")], [node("none", None), node("b"), node("c")]]
    retriever = ScriptedRetriever(chunks, None)
    cutoff = SimilarityPostprocessor(similarity_cutoff=0.5)
    assert await ask(llm, retriever, how, cutoff, ReversePerNode()) == ["a", "c", "b"]
    assert [kind for kind, _ in engine.operations] == ["append", "append", "append", "finalize"]


@pytest.mark.parametrize("how", HOW)
async def test_a_list_wise_postprocessor_is_a_barrier_and_says_so(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    chunks = [[node("low", 0.1), node("a")], [node("b")], [node("c")]]
    cutoff = SimilarityPostprocessor(similarity_cutoff=0.5)
    with pytest.warns(UserWarning, match="Reverse needs all nodes at once") as caught:
        assert await ask(llm, ScriptedRetriever(chunks), how, cutoff, Reverse()) == ["c", "b", "a"]
    assert caught[0].filename == __file__
    assert engine.operations[1] == ("append", "c\n\nb\n\na")


@pytest.mark.parametrize("postprocessor", [LongContextReorder(), Strict(similarity_cutoff=0.5)])
def test_what_is_not_known_to_be_per_node_is_list_wise(
    llm: Stream2LLM, postprocessor: BaseNodePostprocessor
) -> None:
    with pytest.warns(UserWarning, match=type(postprocessor).__name__):
        StreamingQueryEngine.from_args(
            ScriptedRetriever([]), llm=llm, node_postprocessors=[postprocessor]
        )


async def test_list_wise_postprocessors_are_not_run_on_nothing(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    with pytest.warns(UserWarning, match="Reverse"):
        assert await ask(llm, ScriptedRetriever([[]]), "aquery", Reverse()) == []


@pytest.mark.parametrize("how", HOW)
async def test_a_retriever_that_does_not_stream_is_no_reason_to_warn(
    llm: Stream2LLM, how: str
) -> None:
    class Plain(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [node("a"), node("b")]

    # Warnings are errors in these tests.
    assert await ask(llm, Plain(), how, Reverse()) == ["b", "a"]
