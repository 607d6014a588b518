"""A prompt whose context is still arriving, and how models may read it.

What travels through LangChain is a *handle*: a value that any number of models can open, at any
time, each seeing every document from the first one on. It therefore overlaps in ``invoke``,
``batch`` and retries just as in ``astream``.

Only a model that knows the handle opens it. To every other reader an unfinished prompt is an error,
because the part that is there would pass for the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import RunnableLambda
from pydantic import PrivateAttr

from langchain_stream2llm._events import EventLog
from langchain_stream2llm._pace import PacedContext
from langchain_stream2llm._transient import TransientPromptValue, refuse_to_store
from stream2llm_engine.errors import UnsupportedFeatureError
from stream2llm_rag import PromptTemplateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.documents import Document

    from langchain_stream2llm._context_prompt import ContextPrompt
    from langchain_stream2llm._delta import DocumentDelta
    from stream2llm_rag import Append, Update

__all__ = ["LivePrompt", "LivePromptValue", "find_live_prompt", "materialize", "open_live_prompt"]


class LivePrompt:
    """The handle: a prompt with one open place, and the documents that come into it.

    Attributes:
        prompt: The prompt around the context.
        context: The documents, as events; replayable, from any thread or event loop.
    """

    def __init__(self, prompt: ContextPrompt) -> None:
        self.prompt = prompt
        self.context = PacedContext()
        self._log = EventLog()

    @property
    def documents(self) -> DocumentDelta:
        """What was retrieved so far, as the retriever gave it."""
        return self._log.documents

    def add(self, delta: list[Document]) -> Append | Update | None:
        """Takes in what the retriever found, and returns it as an event, if it changes anything."""
        event = self._log.take(delta)
        if event is not None:
            self.context.put(event)
        return event

    def messages(self) -> list[BaseMessage]:
        """Returns the finished prompt, exactly as an ordinary chain would have built it.

        Raises:
            UnsupportedFeatureError: The context is still arriving.
        """
        if not self.context.closed:
            msg = (
                "the context of this prompt is still arriving, and this model would answer from a"
                " part of it; put `materialize` before the model (`materialize | model`), or use"
                " ChatStream2LLM"
            )
            raise UnsupportedFeatureError(msg)
        if self.context.error is not None:
            raise self.context.error
        return self.prompt.filled(self.prompt.context_format.text(self.context.documents))

    def __repr__(self) -> str:
        return f"LivePrompt({self.context!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        refuse_to_store()


class LivePromptValue(TransientPromptValue):
    """A ``LivePrompt`` as LangChain passes prompts; readable once the context is complete."""

    live: LivePrompt

    def to_messages(self) -> list[BaseMessage]:
        """Returns the finished prompt.

        Raises:
            UnsupportedFeatureError: The context is still arriving.
        """
        return self.live.messages()


class _LiveHumanMessage(HumanMessage):
    _live: LivePrompt = PrivateAttr()

    @classmethod
    def lc_id(cls) -> list[str]:
        return HumanMessage.lc_id()


class _LiveSystemMessage(SystemMessage):
    _live: LivePrompt = PrivateAttr()

    @classmethod
    def lc_id(cls) -> list[str]:
        return SystemMessage.lc_id()


def open_live_prompt(live: LivePrompt) -> ChatPromptValue:
    """Returns messages for a model that reads the handle; their text is for traces only.

    Raises:
        PromptTemplateError: The context stands in a message that is neither human nor system.
    """
    messages = live.prompt.filled(f"[live context {live.context.id[:8]}: still arriving]")
    slot = live.prompt.slot
    carrier = _carrier(messages[slot])
    carrier._live = live
    messages[slot] = carrier
    return ChatPromptValue(messages=messages)


def _carrier(message: BaseMessage) -> _LiveHumanMessage | _LiveSystemMessage:
    fields = message.model_dump(exclude={"type"})
    match message:
        case HumanMessage():
            return _LiveHumanMessage(**fields)
        case SystemMessage():
            return _LiveSystemMessage(**fields)
        case _:
            msg = (
                f"the context stands in a message of type {message.type!r};"
                " move it to a human or a system message"
            )
            raise PromptTemplateError(msg)


def find_live_prompt(messages: Sequence[BaseMessage]) -> LivePrompt | None:
    """Returns the handle that ``messages`` carry, if they do."""
    for message in messages:
        if isinstance(message, _LiveHumanMessage | _LiveSystemMessage):
            return message._live
    return None


def _wait(value: Any) -> Any:
    if not isinstance(value, LivePromptValue):
        return value
    value.live.context.wait_sync()
    return ChatPromptValue(messages=value.to_messages())


async def _await(value: Any) -> Any:
    if not isinstance(value, LivePromptValue):
        return value
    await value.live.context.wait()
    return ChatPromptValue(messages=value.to_messages())


materialize: RunnableLambda[Any, Any] = RunnableLambda(_wait, afunc=_await, name="materialize")
"""Waits until the context of a live prompt is complete and passes on an ordinary prompt.

Goes before a model that cannot read a live prompt, as in
``llm.with_fallbacks([materialize | other_llm])``. Any other input passes unchanged.
"""
