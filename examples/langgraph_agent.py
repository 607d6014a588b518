"""A LangGraph agent that searches on until the documents have the answer.

Run it with ``python examples/langgraph_agent.py``. One node searches, which is quick and gives
titles; the next one fetches those pages, which is slow, while the model computes them; where they
do not say, the graph goes back to the search.

A live context belongs inside a node: the state holds what is known between the nodes, and what a
checkpoint can store. The small model that comes with the project reads answers but calls no tools,
so the way on is decided from its answer. One that does calls ``search`` by itself, with
``llm.bind_tools([search])``.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal, TypedDict

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from langchain_stream2llm import ChatStream2LLM, StreamingRetriever, create_streaming_rag_chain
from stream2llm_rag.reader import reader_model

SHELVES = (
    {
        "Zorland": "The river of Zorland is Tessin. The capital of Zorland is Mirapol.",
        "Belmar": "The anthem of Belmar is Kosta. The capital of Belmar is Ranveld.",
        "Quen": "The capital of Quen is Dorvale. The river of Quen is Orr.",
    },
    {
        "Osteria": "The capital of Osteria is Quillon. The flower of Osteria is Pemba.",
        "Kandor": "The king of Kandor is Ulmer. The capital of Kandor is Vestin.",
        "Tarnwood": "The river of Tarnwood is Isel. The capital of Tarnwood is Habrin.",
    },
)

PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer the question from the documents."),
        ("human", "{context}\n\nQuestion: {question}\nAnswer:"),
    ]
)

SMALL = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20}
"""Starts fast and takes little memory; any field of vLLM's ``EngineArgs`` may stand here."""


class State(TypedDict, total=False):
    """What the nodes tell each other."""

    question: str
    searched: int
    titles: list[str]
    answer: BaseMessage


class Fetcher(StreamingRetriever):
    """Fetches pages one after another."""

    titles: list[str]

    async def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> AsyncIterator[list[Document]]:
        pages = {title: text for shelf in SHELVES for title, text in shelf.items()}
        for title in self.titles:
            await asyncio.sleep(0.3)
            print(f"fetched {title}")
            yield [Document(id=title, page_content=pages[title])]


def search(state: State) -> State:
    """Finds the titles on the next shelf."""
    searched = state.get("searched", 0)
    return {"searched": searched + 1, "titles": list(SHELVES[searched])}


def found(state: State) -> Literal["search", "__end__"]:
    """Goes back to the search where the documents did not say."""
    missing = "not in the documents" in state["answer"].text
    return "search" if missing and state["searched"] < len(SHELVES) else "__end__"


def agent_of(llm: ChatStream2LLM) -> CompiledStateGraph[State, None, State, State]:
    """Puts the graph together: search, then answer, then perhaps search again."""

    async def answer(state: State) -> State:
        chain = create_streaming_rag_chain(Fetcher(titles=state["titles"]), PROMPT, llm)
        return {"answer": await chain.ainvoke({"question": state["question"]})}

    graph = StateGraph(State)
    graph.add_node("search", search)
    graph.add_node("answer", answer)
    graph.add_edge(START, "search")
    graph.add_edge("search", "answer")
    graph.add_conditional_edges("answer", found)
    return graph.compile()


async def main() -> None:
    """Asks one question and shows the way to its answer."""
    llm = ChatStream2LLM(
        model=str(reader_model()), temperature=0, max_tokens=32, engine_options={"vllm": SMALL}
    )
    asked: State = {"question": "What is the capital of Osteria?"}
    with llm:
        await llm.ainvoke("This loads the model and warms it up.")
        steps: AsyncIterator[Any] = agent_of(llm).astream(
            asked, stream_mode=["updates", "messages"]
        )
        async for mode, step in steps:
            match mode, step:
                case "messages", (chunk, _):
                    print(chunk.text, end="", flush=True)
                case "updates", {"search": {"titles": titles}}:
                    print(f"search: {', '.join(titles)}")
                case "updates", {"answer": {"answer": message}}:
                    report = message.response_metadata["stream2llm"]
                    early, total = report["prefilled_before_final"], report["prompt_tokens"]
                    print(
                        f"\n{early} of {total} prompt tokens were computed before retrieval ended"
                    )


if __name__ == "__main__":
    asyncio.run(main())
