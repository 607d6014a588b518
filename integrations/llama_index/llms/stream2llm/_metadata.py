"""Metadata of a model that may not be loaded yet."""

from collections.abc import Callable
from typing import Any

from llama_index.core.base.llms.types import LLMMetadata
from pydantic import PrivateAttr

__all__ = ["LazyMetadata"]


class LazyMetadata(LLMMetadata):
    """Metadata whose context window is looked up when somebody asks for it.

    LlamaIndex reads metadata in asynchronous methods, for the flags in it, and looking the window
    up may take loading the model.

    Args:
        context_window: Returns the longest prompt and answer together, in tokens.
        **values: All other fields.
    """

    _look_up: Callable[[], int] = PrivateAttr()

    def __init__(self, context_window: Callable[[], int], **values: Any) -> None:
        super().__init__(**values)
        self._look_up = context_window
        # What is not there is asked of `__getattr__`.
        del self.__dict__["context_window"]

    def __getattr__(self, name: str) -> Any:
        if name == "context_window":
            self.context_window = self._look_up()
            return self.context_window
        return super().__getattr__(name)  # type: ignore[misc]
