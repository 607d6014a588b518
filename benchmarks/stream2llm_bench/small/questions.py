"""One question to each integration, over the same documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.documents import Document as LangChainDocument
from langchain_core.prompts import ChatPromptTemplate
from llama_index.core.prompts import ChatPromptTemplate as LlamaIndexTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from langchain_stream2llm import ChatStream2LLM, StreamingRetriever, create_streaming_rag_chain
from llama_index.llms.stream2llm import Stream2LLM, StreamingQueryEngine
from llama_index.llms.stream2llm import StreamingRetriever as NodeRetriever
from stream2llm_rag import Append, Document, StreamingRAG

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun

    from stream2llm_engine import StreamEngine

__all__ = ["Ask", "Shelf", "questions"]

Ask: TypeAlias = Callable[[], Awaitable[Any]]

_SYSTEM = "Answer the question from the documents."
_QUESTION = "What is the capital of Zorland?"


class Shelf:
    """Documents of a few words, which come one after the other.

    Attributes:
        pause_s: Time between two of them; ``None``: they come back to back.
    """

    def __init__(self, documents: int) -> None:
        self._texts = [f"River {number} is long." for number in range(documents)]
        self.pause_s: float | None = None

    async def texts(self) -> AsyncIterator[tuple[str, str]]:
        """Yield the id and the text of every document."""
        for number, text in enumerate(self._texts):
            if self.pause_s is not None:
                await asyncio.sleep(self.pause_s)
            yield str(number), text


class _LangChainRetriever(StreamingRetriever):
    shelf: Any

    async def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> AsyncIterator[list[LangChainDocument]]:
        async for name, text in self.shelf.texts():
            yield [LangChainDocument(id=name, page_content=text)]


class _LlamaIndexRetriever(NodeRetriever):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__()
        self._shelf = shelf

    async def _astream_retrieve(
        self, query_bundle: QueryBundle
    ) -> AsyncIterator[list[NodeWithScore]]:
        async for name, text in self._shelf.texts():
            yield [NodeWithScore(node=TextNode(id_=name, text=text))]


class _Source:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def stream(self, query: str) -> AsyncIterator[Append]:
        del query
        async for name, text in self._shelf.texts():
            yield Append(documents=(Document(id=name, text=text),))


def questions(engine: StreamEngine, shelf: Shelf) -> dict[str, Ask]:
    """Return what asks the question, by the name of the integration."""
    return {
        "langchain": _langchain(engine, shelf),
        "llamaindex": _llama_index(engine, shelf),
        "rag": _rag(engine, shelf),
    }


def _langchain(engine: StreamEngine, shelf: Shelf) -> Ask:
    prompt = ChatPromptTemplate.from_messages(
        [("system", _SYSTEM), ("human", "{context}\n\nQuestion: {question}")]
    )
    llm = ChatStream2LLM(engine=engine, temperature=0, max_tokens=1)
    chain = create_streaming_rag_chain(_LangChainRetriever(shelf=shelf), prompt, llm)
    return lambda: chain.ainvoke({"question": _QUESTION})


def _llama_index(engine: StreamEngine, shelf: Shelf) -> Ask:
    prompt = LlamaIndexTemplate.from_messages(
        [("system", _SYSTEM), ("user", "{context_str}\n\nQuestion: {query_str}")]
    )
    query_engine = StreamingQueryEngine.from_args(
        _LlamaIndexRetriever(shelf),
        llm=Stream2LLM(engine=engine, temperature=0, max_tokens=1),
        text_qa_template=prompt,
    )
    return lambda: query_engine.aquery(_QUESTION)


def _rag(engine: StreamEngine, shelf: Shelf) -> Ask:
    from stream2llm_engine import SamplingParams

    pipeline = StreamingRAG(
        engine, _Source(shelf), sampling_params=SamplingParams(temperature=0.0, max_tokens=1)
    )
    return lambda: pipeline.answer(_QUESTION)
