"""Postprocessors that see nodes one by one run as nodes arrive; what becomes of others is said."""

from typing import Any, ClassVar

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.postprocessor import (
    LLMRerank,
    LongContextReorder,
    MetadataReplacementPostProcessor,
    SimilarityPostprocessor,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.llms.stream2llm import NodeUpdate, Stream2LLM, StreamingQueryEngine
from stream2llm_rag import ContextSourceError
from tests.integrations.llama_index.fakes import FakeEngine, Recorder, ScriptedRetriever, node

HOW = ["query", "aquery"]


class Reverse(BaseNodePostprocessor):
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        assert query_bundle is not None
        return nodes[::-1]


class ReversePerNode(Reverse):
    streaming_stage: ClassVar[str] = "per_node"


class ReverseAsUpdate(Reverse):
    streaming_stage: ClassVar[str] = "update"


class TopTwo(Reverse):
    """A reranker: the last two, the last one first."""

    streaming_stage: ClassVar[str] = "update"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return super()._postprocess_nodes(nodes, query_bundle)[:2]


class Ranked(ScriptedRetriever):
    order = "rank"


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
    with pytest.warns(
        UserWarning, match="Reverse: needs all nodes at once and is a barrier"
    ) as caught:
        assert await ask(llm, ScriptedRetriever(chunks), how, cutoff, Reverse()) == ["c", "b", "a"]
    assert caught[0].filename == __file__
    assert engine.operations[1] == ("append", "c\n\nb\n\na")


@pytest.mark.parametrize("how", HOW)
async def test_a_reranker_becomes_an_update(
    llm: Stream2LLM, engine: FakeEngine, recorder: Recorder, how: str
) -> None:
    retriever = ScriptedRetriever([[node("a")], [node("b")], [node("c")]], engine)
    with pytest.warns(UserWarning, match="TopTwo: needs all nodes at once and becomes an update"):
        assert await ask(llm, retriever, how, TopTwo()) == ["c", "b"]
    kinds = [kind for kind, _ in engine.operations]
    assert kinds == ["append", "append", "append", "append", "update", "finalize"]
    # The order is "stable": what is kept stays where it is.
    assert "b\n\nc" in engine.prompt
    event = recorder.of("ContextUpdateEvent")
    assert (event.node_ids, event.retracted) == (["id-c", "id-b"], ["id-a"])


@pytest.mark.parametrize("how", HOW)
async def test_the_order_of_the_retriever_decides_whether_a_ranking_moves_nodes(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    retriever = Ranked([[node("a")], [node("b")], [node("c")]], engine)
    with pytest.warns(UserWarning, match='"stable"'):
        assert await ask(llm, retriever, how, TopTwo()) == ["c", "b"]
    assert "c\n\nb" in engine.prompt


async def test_one_barrier_in_the_chain_holds_all_back(llm: Stream2LLM, engine: FakeEngine) -> None:
    retriever = ScriptedRetriever([[node("a")], [node("b")]])
    with pytest.warns(UserWarning, match="ReverseAsUpdate, Reverse: .* barrier"):
        assert await ask(llm, retriever, "aquery", ReverseAsUpdate(), Reverse()) == ["a", "b"]
    assert [kind for kind, _ in engine.operations] == ["append", "append", "finalize"]


@pytest.mark.parametrize("how", HOW)
async def test_updates_of_the_retriever_go_through_every_postprocessor(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    update = NodeUpdate([node("c"), node("low", 0.1), node("a")])
    retriever = ScriptedRetriever([[node("a")], [node("b")], update], engine)
    cutoff = SimilarityPostprocessor(similarity_cutoff=0.5)
    assert await ask(llm, retriever, how, cutoff) == ["c", "a"]
    retriever = ScriptedRetriever([[node("a")], [node("b")], update])
    with pytest.warns(UserWarning, match="barrier"):
        assert await ask(llm, retriever, how, cutoff, Reverse()) == ["a", "c"]


async def test_the_text_of_a_node_may_be_replaced_on_the_way(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    retriever = ScriptedRetriever([[node("a", window="around a")], [node("b")]])
    replacement = MetadataReplacementPostProcessor(target_metadata_key="window")
    await ask(llm, retriever, "aquery", replacement)
    assert engine.operations[1] == ("append", "window: around a\n\naround a")


class Judge(CustomLLM):
    """Prefers the second document."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="Doc: 2, Relevance: 9\nDoc: 1, Relevance: 3")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("how", HOW)
async def test_llama_index_s_own_reranker(llm: Stream2LLM, engine: FakeEngine, how: str) -> None:
    retriever = ScriptedRetriever([[node("a")], [node("b")], [node("c")]], engine)
    with pytest.warns(UserWarning, match="LLMRerank: .* update"):
        assert await ask(llm, retriever, how, LLMRerank(llm=Judge(), top_n=2)) == ["b", "a"]
    assert engine.operations[-2][0] == "update"


async def test_a_postprocessor_that_fails_ends_the_query(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    class Broken(ReversePerNode):
        def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
            raise ConnectionError("no reranker")

    retriever = ScriptedRetriever([[node("a")], [node("b")]])
    with pytest.raises(ContextSourceError, match="no reranker"):
        await ask(llm, retriever, "aquery", Broken())
    assert engine.operations[-1] == ("abort", "")
    assert retriever.closed == 1


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
    with pytest.warns(UserWarning, match="update"):
        assert await ask(llm, Plain(), how, ReverseAsUpdate()) == ["b", "a"]
