"""A prompt in pieces: the template first, then the documents."""

from typing import Self

from langchain_core.messages import BaseMessage
from pydantic import Field, InstanceOf

from langchain_stream2llm._context_prompt import ContextPrompt
from langchain_stream2llm._delta import DocumentDelta
from langchain_stream2llm._documents import to_core
from langchain_stream2llm._transient import TransientPromptValue
from stream2llm_engine.errors import UnsupportedFeatureError

__all__ = ["StreamedPromptValue"]


class StreamedPromptValue(TransientPromptValue):
    """A piece of a prompt; pieces add up with ``+`` to the prompt an ordinary template gives.

    Attributes:
        prompt: The prompt around the context; only the first piece has it.
        documents: What this piece adds to the context.
    """

    prompt: InstanceOf[ContextPrompt] | None = None
    documents: InstanceOf[DocumentDelta] = Field(default_factory=DocumentDelta)

    def __add__(self, other: Self) -> Self:
        return type(self)(
            prompt=self.prompt or other.prompt, documents=self.documents + other.documents
        )

    def to_messages(self) -> list[BaseMessage]:
        """Returns the prompt.

        Raises:
            UnsupportedFeatureError: This is a later piece on its own.
        """
        if self.prompt is None:
            msg = "this is a piece of a prompt; add it to the pieces before it with `+`"
            raise UnsupportedFeatureError(msg)
        return self.prompt.filled(self.prompt.context_format.text(to_core(self.documents)))
