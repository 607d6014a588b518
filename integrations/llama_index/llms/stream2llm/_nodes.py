"""How the list of found nodes changes, and nodes as documents of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from llama_index_instrumentation import get_dispatcher

from llama_index.llms.stream2llm.events import ContextAppendEvent, ContextUpdateEvent
from stream2llm_rag import Append, Document, Update

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NodeUpdate", "announce", "as_document", "as_event", "as_node", "nodes_after"]

dispatcher = get_dispatcher(__name__)

_NODE = "llama_index_node"


class NodeUpdate(list[NodeWithScore]):
    """The full new ranked list of nodes, in place of everything found before.

    A ``StreamingRetriever`` yields a plain list for nodes that come on top of the earlier ones, and
    a ``NodeUpdate`` where it ranks anew: a later stage of the search, a fusion, a reranker.
    """


def nodes_after(
    found: list[NodeWithScore], change: list[NodeWithScore]
) -> tuple[list[NodeWithScore], list[NodeWithScore]]:
    """Applies a change to the list of found nodes; no node is in it twice.

    Args:
        found: The nodes before.
        change: New nodes, or a ``NodeUpdate``.

    Returns:
        The nodes now, and the change less what is repeated in it or was there before.
    """
    if isinstance(change, NodeUpdate):
        update = NodeUpdate(_unique(change))
        return list(update), update
    known = {node.node_id for node in found}
    new = [node for node in _unique(change) if node.node_id not in known]
    return [*found, *new], new


def announce(found: list[NodeWithScore], change: list[NodeWithScore]) -> None:
    """Tells observers of a change that ``nodes_after`` returned for the list ``found``."""
    node_ids = [node.node_id for node in change]
    if not isinstance(change, NodeUpdate):
        dispatcher.event(ContextAppendEvent(node_ids=node_ids))
        return
    kept = set(node_ids)
    retracted = [node.node_id for node in found if node.node_id not in kept]
    dispatcher.event(ContextUpdateEvent(node_ids=node_ids, retracted=retracted))


def as_event(change: list[NodeWithScore]) -> Append | Update:
    """Converts a change of the found nodes."""
    documents = tuple(map(as_document, change))
    if isinstance(change, NodeUpdate):
        return Update(documents=documents)
    return Append(documents=documents)


def as_document(node: NodeWithScore) -> Document:
    """Converts a node, with the text that a model reads of it."""
    text = node.node.get_content(metadata_mode=MetadataMode.LLM).strip()
    return Document(id=node.node_id, text=text, metadata={_NODE: node})


def as_node(document: Document) -> NodeWithScore:
    """Returns the node that ``as_document`` converted, or a new one for any other document."""
    node = document.metadata.get(_NODE)
    if isinstance(node, NodeWithScore):
        return node
    text_node = TextNode(id_=document.id, text=document.text, metadata=document.metadata)
    return NodeWithScore(node=text_node, score=document.score)


def _unique(nodes: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    first: dict[str, NodeWithScore] = {}
    for node in nodes:
        first.setdefault(node.node_id, node)
    return list(first.values())
