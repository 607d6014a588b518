"""Prompt values that live for one call and must not be written down."""

from abc import ABC, abstractmethod
from typing import Any, NoReturn

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from pydantic import ConfigDict, model_serializer

from stream2llm_engine.errors import UnsupportedFeatureError

__all__ = ["TransientPromptValue", "refuse_to_store"]


class TransientPromptValue(PromptValue, ABC):
    """A prompt from which the context may be missing; a checkpoint of it would lose the rest."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Returns False: it is worth nothing outside its process."""
        return False

    @model_serializer
    def _refuse_to_store(self) -> dict[str, Any]:
        refuse_to_store()

    @abstractmethod
    def to_messages(self) -> list[BaseMessage]:
        """Returns the finished prompt.

        Raises:
            UnsupportedFeatureError: A part of it is missing.
        """

    def to_string(self) -> str:
        """Returns the finished prompt as text.

        Raises:
            UnsupportedFeatureError: A part of it is missing.
        """
        return ChatPromptValue(messages=self.to_messages()).to_string()


def refuse_to_store() -> NoReturn:
    """Says why a prompt cannot be written down.

    Raises:
        UnsupportedFeatureError: Always.
    """
    msg = (
        "a prompt whose context is still arriving cannot be stored or sent to another process;"
        " put `materialize` before the step that does"
    )
    raise UnsupportedFeatureError(msg)
