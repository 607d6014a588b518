"""Which node postprocessors may see nodes one by one, and what becomes of the others."""

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple, Self, TypeAlias

from llama_index.core.postprocessor import (
    KeywordNodePostprocessor,
    LLMRerank,
    MetadataReplacementPostProcessor,
    NERPIINodePostprocessor,
    PIINodePostprocessor,
    SentenceEmbeddingOptimizer,
    SentenceTransformerRerank,
    SimilarityPostprocessor,
    StructuredLLMRerank,
)
from llama_index.core.postprocessor.rankGPT_rerank import RankGPTRerank
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from stream2llm_rag.prompt import DocumentOrder

__all__ = ["Postprocessing", "Stage", "postprocessed"]

Stage: TypeAlias = Literal["per_node", "update", "barrier"]

_STAGES: dict[type[BaseNodePostprocessor], Stage] = {
    KeywordNodePostprocessor: "per_node",
    MetadataReplacementPostProcessor: "per_node",
    NERPIINodePostprocessor: "per_node",
    PIINodePostprocessor: "per_node",
    SentenceEmbeddingOptimizer: "per_node",
    SimilarityPostprocessor: "per_node",
    # Slow, and they keep a good part of the nodes: it pays to compute those meanwhile.
    LLMRerank: "update",
    RankGPTRerank: "update",
    SentenceTransformerRerank: "update",
    StructuredLLMRerank: "update",
}


class Postprocessing(NamedTuple):
    """Postprocessors in the order they run.

    Attributes:
        per_node: Those that treat every node on its own; they run on nodes as they arrive.
        list_wise: From the first one on that needs all nodes; they run when retrieval has ended.
        barrier: Whether the model gets no node before that. Otherwise it gets them as they arrive,
            and what the list-wise ones make of them as an update.
    """

    per_node: tuple[BaseNodePostprocessor, ...] = ()
    list_wise: tuple[BaseNodePostprocessor, ...] = ()
    barrier: bool = False

    @classmethod
    def of(cls, postprocessors: Sequence[BaseNodePostprocessor]) -> Self:
        """Splits a chain; a class of your own has its stage in an attribute ``streaming_stage``."""
        stages = [_stage(each) for each in postprocessors]
        first = next((i for i, stage in enumerate(stages) if stage != "per_node"), len(stages))
        per_node, list_wise = tuple(postprocessors[:first]), tuple(postprocessors[first:])
        return cls(per_node, list_wise, "barrier" in stages[first:])

    def warn(self, order: DocumentOrder, *, streams: bool) -> None:
        """Says what list-wise postprocessors do to the overlap, if there are any.

        Args:
            order: Where nodes stand in the prompt.
            streams: Whether the retriever yields nodes bit by bit. If not, a barrier costs nothing.
        """
        message = self._message(order)
        if message and (streams or not self.barrier):
            warnings.warn(message, UserWarning, stacklevel=5)

    def _message(self, order: DocumentOrder) -> str:
        names = ", ".join(type(each).__name__ for each in self.list_wise)
        if not names:
            return ""
        if self.barrier:
            return (
                f"{names}: needs all nodes at once and is a barrier: the model sees none before"
                " retrieval has ended, and nothing overlaps. Rank in the retriever, or say on the"
                " class that it treats every node on its own, `streaming_stage: ClassVar ="
                ' "per_node"`, or that its result is worth an update, "update"'
            )
        moved = (
            "what it keeps stays where it is in the prompt (`order` of the retriever is"
            ' "stable"; "rank" would follow its ranking)'
            if order == "stable"
            else "the model computes again from the first node on that it moves or drops (`order`"
            ' of the retriever is "rank"; "stable" would move none)'
        )
        return (
            f"{names}: needs all nodes at once and becomes an update: the model computes nodes as"
            f" they arrive, and then {moved}. To wait instead, set `streaming_stage: ClassVar ="
            ' "barrier"` on the class'
        )


async def postprocessed(
    postprocessors: Sequence[BaseNodePostprocessor],
    nodes: list[NodeWithScore],
    query_bundle: QueryBundle,
) -> list[NodeWithScore]:
    """Runs postprocessors one after the other."""
    for postprocessor in postprocessors:
        nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=query_bundle)
    return nodes


def _stage(postprocessor: BaseNodePostprocessor) -> Stage:
    own: Stage | None = getattr(type(postprocessor), "streaming_stage", None)
    # Not `isinstance`: a subclass may do something else with the list.
    return own or _STAGES.get(type(postprocessor), "barrier")
