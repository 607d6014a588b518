"""One call of a Runnable, by whichever of LangChain's six methods."""

from __future__ import annotations

import asyncio
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

INPUT = {"question": "why?", "manner": "kind"}
RENDERED = "<system>Be kind.</system><user>Read:\none\n\ntwo\n\nthree\nQ: why?</user><assistant>"
"""What the fake engine is told for ``INPUT``, the fixture's prompt and three documents."""

EVERY_CALL = pytest.mark.parametrize(
    "how", ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"]
)
EVERY_STREAM = pytest.mark.parametrize("how", ["stream", "astream"])
EVERY_RETRIEVAL = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])


async def chunks_of(
    runnable: Runnable[Any, Any], how: str, value: Any = INPUT, config: Any = None, **kwargs: Any
) -> list[Any]:
    """Returns the chunks of one streamed call."""
    if how == "stream":
        return await asyncio.to_thread(lambda: list(runnable.stream(value, config, **kwargs)))
    return [chunk async for chunk in runnable.astream(value, config, **kwargs)]


async def call(
    runnable: Runnable[Any, Any], how: str, value: Any = INPUT, config: Any = None, **kwargs: Any
) -> Any:
    """Returns the result of one call; streamed chunks are added up."""
    match how:
        case "invoke":
            return await asyncio.to_thread(runnable.invoke, value, config, **kwargs)
        case "ainvoke":
            return await runnable.ainvoke(value, config, **kwargs)
        case "batch":
            return (await asyncio.to_thread(runnable.batch, [value], config, **kwargs))[0]
        case "abatch":
            return (await runnable.abatch([value], config, **kwargs))[0]
        case _:
            return reduce(add, await chunks_of(runnable, how, value, config, **kwargs))
