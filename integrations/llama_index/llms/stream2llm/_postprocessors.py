"""Which node postprocessors may see nodes one by one, and which need the whole list."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple, Self

from llama_index.core.postprocessor import (
    KeywordNodePostprocessor,
    MetadataReplacementPostProcessor,
    NERPIINodePostprocessor,
    PIINodePostprocessor,
    SentenceEmbeddingOptimizer,
    SimilarityPostprocessor,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

__all__ = ["Postprocessing"]

_PER_NODE = frozenset(
    {
        KeywordNodePostprocessor,
        MetadataReplacementPostProcessor,
        NERPIINodePostprocessor,
        PIINodePostprocessor,
        SentenceEmbeddingOptimizer,
        SimilarityPostprocessor,
    }
)


class Postprocessing(NamedTuple):
    """Postprocessors in the order they run.

    Attributes:
        per_node: Those that treat every node on its own; they run on nodes as they arrive.
        list_wise: From the first one on that needs all nodes; they run when retrieval has ended.
    """

    per_node: tuple[BaseNodePostprocessor, ...]
    list_wise: tuple[BaseNodePostprocessor, ...]

    @classmethod
    def of(cls, postprocessors: Sequence[BaseNodePostprocessor]) -> Self:
        """Splits a chain; a class of your own is per node if it has ``per_node = True``."""
        barrier = next(
            (i for i, each in enumerate(postprocessors) if not _is_per_node(each)),
            len(postprocessors),
        )
        return cls(tuple(postprocessors[:barrier]), tuple(postprocessors[barrier:]))

    def warn(self) -> None:
        """Says what keeps nodes from the model while they arrive, if anything does."""
        if self.list_wise:
            name = type(self.list_wise[0]).__name__
            msg = (
                f"{name} needs all nodes at once, so the model sees none before retrieval has"
                " ended and nothing overlaps; leave it out, rank in the retriever, or if it treats"
                " every node on its own set `per_node = True` on its class"
            )
            warnings.warn(msg, UserWarning, stacklevel=4)


async def apply(
    postprocessors: Sequence[BaseNodePostprocessor],
    nodes: list[NodeWithScore],
    query_bundle: QueryBundle,
) -> list[NodeWithScore]:
    """Runs postprocessors one after the other."""
    for postprocessor in postprocessors:
        nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=query_bundle)
    return nodes


def _is_per_node(postprocessor: BaseNodePostprocessor) -> bool:
    # Not `isinstance`: a subclass may do something else with the list.
    return type(postprocessor) in _PER_NODE or bool(getattr(postprocessor, "per_node", False))
