"""The chain inside a LangGraph graph."""

import asyncio
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from langchain_stream2llm import ChatStream2LLM, DocumentDelta, create_streaming_rag_chain
from tests.integrations.langchain.fakes import FakeEngine, ScriptedRetriever, docs
from tests.integrations.langchain.stand_ins import texts
from tests.integrations.langchain.test_live_prompt import live_prompt

RENDERED = "<user>one\n\ntwo\n\nthree why?</user><assistant>"


class State(TypedDict, total=False):
    question: str
    messages: Annotated[list[AnyMessage], add_messages]
    context: list[Document]
    answer: AnyMessage
    prompt: Any


@pytest.fixture
def prompt() -> ChatPromptTemplate:
    return ChatPromptTemplate.from_messages(
        [MessagesPlaceholder("messages", optional=True), ("human", "{context} {question}")]
    )


def graph_of(node: Any, **options: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("rag", node)
    graph.add_edge(START, "rag")
    graph.add_edge("rag", END)
    return graph.compile(**options)


def async_node(chain: Runnable[Any, Any]) -> Any:
    async def node(state: State) -> State:
        return {"messages": [await chain.ainvoke({"question": state["question"]})]}

    return node


def sync_node(chain: Runnable[Any, Any]) -> Any:
    def node(state: State) -> State:
        return {"messages": [chain.invoke({"question": state["question"]})]}

    return node


async def test_tokens_stream_out_of_a_node_that_only_awaits_the_chain(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    graph = graph_of(async_node(chain))
    pieces = [
        (chunk.text, metadata["langgraph_node"])
        async for chunk, metadata in graph.astream({"question": "why?"}, stream_mode="messages")
    ]
    assert "".join(text for text, _ in pieces) == f"saw {RENDERED}"
    assert len(pieces) > 2
    assert {node for _, node in pieces} == {"rag"}
    assert len(engine.operations) == 5, "retrieval and prefill overlapped"


async def test_tokens_stream_out_of_a_synchronous_node(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    graph = graph_of(sync_node(chain))
    pieces = await asyncio.to_thread(
        lambda: [
            chunk.text for chunk, _ in graph.stream({"question": "why?"}, stream_mode="messages")
        ]
    )
    assert "".join(pieces) == f"saw {RENDERED}"
    assert len(pieces) > 2
    assert len(engine.operations) == 5


async def test_the_chain_is_a_node_and_its_sources_go_into_the_state(
    retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=True)
    state = await graph_of(chain).ainvoke({"question": "why?"})
    assert texts(state["context"]) == ["one", "two", "three"]
    assert state["answer"].text == f"saw {RENDERED}"


async def test_events_of_the_graph_show_retrieval_and_tokens(chain: Runnable[Any, Any]) -> None:
    graph = graph_of(async_node(chain))
    names = [
        event["event"] async for event in graph.astream_events({"question": "why?"}, version="v2")
    ]
    assert names.count("on_retriever_end") == 1
    assert names.count("on_custom_event") == 3
    assert names.count("on_chat_model_stream") > 2


async def test_the_config_of_the_graph_says_whose_request_it_is(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    config: Any = {"configurable": {"stream2llm": {"tenant": "gold"}}}
    await graph_of(async_node(chain)).ainvoke({"question": "why?"}, config)
    assert engine.sessions[0].tenant == "gold"


async def test_a_cancelled_graph_stops_retriever_and_engine(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    retriever = ScriptedRetriever(deltas=[docs("one"), asyncio.Event()])
    graph = graph_of(async_node(create_streaming_rag_chain(retriever, prompt, llm)))
    task = asyncio.create_task(graph.ainvoke({"question": "why?"}))
    await engine.until_sent("one")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert retriever.closed == ["why?"]
    assert engine.operations[-1] == ("abort", "")


# -- checkpoints ----------------------------------------------------------------------------------

THREAD: Any = {"configurable": {"thread_id": "1"}}


async def test_checkpoints_hold_the_answer_and_no_trace_of_the_live_prompt(
    retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    chain = create_streaming_rag_chain(retriever, prompt, llm, return_sources=True)

    async def node(state: State) -> Any:
        result = await chain.ainvoke({"question": state["question"]})
        return {"messages": [result["answer"]], "context": DocumentDelta(result["context"])}

    saver = InMemorySaver()
    graph = graph_of(node, checkpointer=saver)
    await graph.ainvoke({"question": "why?", "messages": [HumanMessage("why?")]}, THREAD)
    restored = (await graph.aget_state(THREAD)).values
    assert [type(message).__name__ for message in restored["messages"]] == [
        "HumanMessage",
        "AIMessage",
    ]
    assert texts(restored["context"]) == ["one", "two", "three"]
    stored = repr([*saver.storage.values(), *saver.blobs.values(), *saver.writes.values()])
    assert "saw " in stored
    for trace in ("live context", "LivePrompt", "_Live"):
        assert trace not in stored


async def test_a_live_prompt_in_the_state_is_an_error_not_a_hole() -> None:
    """LangGraph would store it as an empty value of its class."""

    async def node(_: State) -> State:
        return {"prompt": live_prompt()}

    graph = graph_of(node, checkpointer=InMemorySaver())
    with pytest.raises(TypeError, match="LivePromptValue"):
        await graph.ainvoke({"question": "why?"}, THREAD)
