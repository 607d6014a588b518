"""Asking a query engine in each of its four ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core import PromptTemplate

from llama_index.llms.stream2llm import StreamingQueryEngine

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

HOW = ["query", "aquery", "stream", "astream"]
TEMPLATE = PromptTemplate("Read:\n{context_str}\nQ: {query_str}")


def made(llm: LLM, retriever: Any, how: str = "query", **kwargs: Any) -> Any:
    """A query engine that streams its answers if it is to be asked so."""
    kwargs.setdefault("text_qa_template", TEMPLATE)
    return StreamingQueryEngine.from_args(retriever, llm=llm, streaming="stream" in how, **kwargs)


async def ask(query_engine: Any, how: str) -> Any:
    """Asks in one of the ways; streamed responses are read to the end."""
    match how:
        case "query" | "stream":
            # The loop of the test is running: the call must do without it.
            response = query_engine.query("what?")
            return response.get_response() if how == "stream" else response
        case "aquery":
            return await query_engine.aquery("what?")
        case _:
            return await (await query_engine.aquery("what?")).get_response()


def texts(response: Any) -> list[str]:
    return [source.text for source in response.source_nodes]
