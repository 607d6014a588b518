"""The nodes of one retrieval while they arrive: what an engine hands to the model.

It travels as a keyword argument of the model's chat methods, so LlamaIndex's own events carry it;
to those who serialise events it is nothing but an id.
"""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from llama_index.core.schema import NodeWithScore
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from llama_index.llms.stream2llm._nodes import as_event, nodes_after
from stream2llm_rag import LiveContext, Update
from stream2llm_rag.prompt import DocumentOrder

__all__ = ["LiveNodes", "NoNodesFoundError"]


class NoNodesFoundError(Exception):
    """The retrieval ended without a node: there is nothing to ask the model about."""


class LiveNodes(BaseModel):
    """A retrieval that is still running.

    Attributes:
        id: Name of the retrieval in events.
        separator: Text between two nodes in the prompt.
        order: Where nodes stand in the prompt.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=lambda: uuid4().hex)
    separator: str = "\n\n"
    order: DocumentOrder = "stable"

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
        """The nodes so far: one list, which changes in place."""
        return self._nodes

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of a response: that of each node by id, one dictionary, changed in place."""
        return self._metadata

    def change(self, change: list[NodeWithScore]) -> None:
        """Takes new nodes in, or a ``NodeUpdate`` in the place of all."""
        before = list(self._nodes)
        self._nodes[:], change = nodes_after(before, change)
        self._settle_metadata(before)
        event = as_event(change)
        # As LlamaIndex does, an empty node is a source but leaves no blank lines in the prompt.
        with_text = tuple(document for document in event.documents if document.text)
        if with_text or isinstance(event, Update):
            self._context.put(event.model_copy(update={"documents": with_text}))

    def finish(self) -> None:
        """Says that no further node comes."""
        self._context.close(None if self._nodes else NoNodesFoundError())

    def fail(self, error: BaseException) -> None:
        """Says that the retrieval failed; whoever reads the nodes gets ``error``."""
        self._context.close(error)

    def leave_out(self, node_ids: set[str]) -> None:
        """Takes nodes back that did not fit into the prompt: they are no sources of the answer."""
        before = list(self._nodes)
        self._nodes[:] = [node for node in before if node.node_id not in node_ids]
        self._settle_metadata(before)

    def on_abandon(self, stop: Callable[[], object]) -> None:
        """Registers how to stop work for this answer; ``stop`` is callable from any thread."""
        self._on_abandon.append(stop)

    def abandon(self) -> None:
        """Stops all work: nobody waits for the answer any more. Idempotent."""
        while self._on_abandon:
            self._on_abandon.pop()()

    def _settle_metadata(self, before: list[NodeWithScore]) -> None:
        for node in before:
            self._metadata.pop(node.node_id, None)
        self._metadata.update({node.node_id: node.metadata for node in self._nodes})
