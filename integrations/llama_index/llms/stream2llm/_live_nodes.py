"""The nodes of one retrieval while they arrive: what the query engine hands to the model.

It travels as a keyword argument of the model's chat methods, so LlamaIndex's own events carry it;
to those who serialise events it is nothing but an id.
"""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from llama_index.core.schema import MetadataMode, NodeWithScore
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from stream2llm_rag import Append, Document, LiveContext

__all__ = ["LiveNodes", "NoNodesFoundError"]


class NoNodesFoundError(Exception):
    """The retrieval ended without a node: there is nothing to ask the model about."""


class LiveNodes(BaseModel):
    """A retrieval that is still running.

    Attributes:
        id: Name of the retrieval in events.
        separator: Text between two nodes in the prompt.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=lambda: uuid4().hex)
    separator: str = "\n\n"

    _context: LiveContext = PrivateAttr(default_factory=LiveContext)
    _nodes: list[NodeWithScore] = PrivateAttr(default_factory=list)
    _metadata: dict[str, Any] = PrivateAttr(default_factory=dict)
    _on_abandon: list[Callable[[], object]] = PrivateAttr(default_factory=list)

    @property
    def context(self) -> LiveContext:
        """The nodes' texts as context events."""
        return self._context

    @property
    def nodes(self) -> list[NodeWithScore]:
        """The nodes so far: one list, which grows."""
        return self._nodes

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of a response: that of each node by id, one dictionary, which grows."""
        return self._metadata

    def add(self, nodes: list[NodeWithScore]) -> None:
        """Takes new nodes in; one whose id is known already is ignored."""
        new = [node for node in nodes if self._learn(node)]
        documents = [_as_document(node) for node in new]
        # As LlamaIndex does, an empty node is a source but leaves no blank lines in the prompt.
        with_text = tuple(document for document in documents if document.text)
        if with_text:
            self._context.put(Append(documents=with_text))

    def finish(self) -> None:
        """Says that no further node comes."""
        self._context.close(None if self._nodes else NoNodesFoundError())

    def fail(self, error: BaseException) -> None:
        """Says that the retrieval failed; whoever reads the nodes gets ``error``."""
        self._context.close(error)

    def leave_out(self, node_ids: set[str]) -> None:
        """Takes nodes back that did not fit into the prompt: they are no sources of the answer."""
        self._nodes[:] = [node for node in self._nodes if node.node_id not in node_ids]
        for node_id in node_ids:
            self._metadata.pop(node_id, None)

    def on_abandon(self, stop: Callable[[], object]) -> None:
        """Registers how to stop work for this answer; ``stop`` is callable from any thread."""
        self._on_abandon.append(stop)

    def abandon(self) -> None:
        """Stops all work: nobody waits for the answer any more. Idempotent."""
        while self._on_abandon:
            self._on_abandon.pop()()

    def _learn(self, node: NodeWithScore) -> bool:
        if node.node_id in self._metadata:
            return False
        self._metadata[node.node_id] = node.metadata
        self._nodes.append(node)
        return True


def _as_document(node: NodeWithScore) -> Document:
    text = node.node.get_content(metadata_mode=MetadataMode.LLM).strip()
    return Document(id=node.node_id, text=text)
