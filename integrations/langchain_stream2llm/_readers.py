"""Which models read live prompts, and how the others get the finished one."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableSequence,
    RunnableSerializable,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from pydantic import ConfigDict

from langchain_stream2llm._live_model import LiveChatModel
from langchain_stream2llm._live_prompt import materialize
from langchain_stream2llm._scheduling import without_scheduling

__all__ = ["reading_live_prompts"]


def reading_live_prompts(llm: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Returns ``llm`` so that it takes live prompts, waiting for the context if it has to.

    Of fallbacks, each one waits or not as it needs to.
    """
    if isinstance(llm, RunnableWithFallbacks):
        return llm.model_copy(
            update={
                "runnable": reading_live_prompts(llm.runnable),
                "fallbacks": [reading_live_prompts(fallback) for fallback in llm.fallbacks],
            }
        )
    if isinstance(llm, RunnableBindingBase):
        return llm.model_copy(update={"bound": reading_live_prompts(llm.bound)})
    if isinstance(llm, RunnableSequence):
        return llm.model_copy(update={"first": reading_live_prompts(llm.first)})
    return llm if _reads(llm) else _Waiting(bound=llm)


def _reads(llm: Runnable[Any, Any]) -> bool:
    match llm:
        case LiveChatModel() | _Waiting():
            return True
        case DynamicRunnable():
            return _reads(llm.default)
        case _:
            return llm is materialize


class _Waiting(RunnableSerializable[Any, Any]):
    """``materialize | bound``, but options of a call reach the model.

    Not those that say how to schedule it: the model shares no engine of ours.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    bound: Runnable[Any, Any]

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self.bound.invoke(materialize.invoke(input), config, **without_scheduling(kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self.bound.ainvoke(
            await materialize.ainvoke(input), config, **without_scheduling(kwargs)
        )

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        yield from self.bound.stream(
            materialize.invoke(input), config, **without_scheduling(kwargs)
        )

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        options = without_scheduling(kwargs)
        async for chunk in self.bound.astream(await materialize.ainvoke(input), config, **options):
            yield chunk
