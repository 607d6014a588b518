"""Tool calling, on a scripted model; ``real_model`` has the grammars."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_stream2llm import ChatStream2LLM, create_streaming_rag_chain
from stream2llm_engine import EngineConfigError, InvalidRequestError, UnsupportedFeatureError
from tests.integrations.langchain.calls import EVERY_CALL, EVERY_STREAM, call, chunks_of
from tests.integrations.langchain.fakes import ScriptedRetriever, docs
from tests.integrations.langchain.scripted import ScriptedEngine
from tests.support.blocking import no_blocking_calls
from tests.support.chat_llama import TOOL_CALL_PARSER

if TYPE_CHECKING:
    from collections.abc import Callable


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Weather(BaseModel):
    """Get the weather."""

    place: str = Field(description="where")


class Clock(TypedDict):
    """Tell the time."""

    zone: Annotated[str, ..., "time zone"]


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def written(name: str, **arguments: Any) -> str:
    """A call as Hermes and Qwen models write it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture
def make(chat_tokenizer: Any) -> Callable[..., tuple[ChatStream2LLM, ScriptedEngine]]:
    def make(answer: str, **options: Any) -> tuple[ChatStream2LLM, ScriptedEngine]:
        engine = ScriptedEngine(chat_tokenizer, lambda _: answer)
        options = {"tool_call_parser": TOOL_CALL_PARSER, **options}
        return ChatStream2LLM(engine=engine, **options), engine

    return make


# -- what is bound ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name", "parameter"),
    [
        (add, "add", "a"),
        (Weather, "Weather", "place"),
        (Clock, "Clock", "zone"),
        (double, "double", "number"),
        ({"title": "T", "description": "d", "properties": {"x": {"type": "string"}}}, "T", "x"),
        (
            {
                "type": "function",
                "function": {"name": "f", "parameters": {"properties": {"y": {}}}},
            },
            "f",
            "y",
        ),
    ],
)
def test_anything_langchain_takes_for_a_tool_may_be_bound(
    make: Callable[..., Any], given: Any, name: str, parameter: str
) -> None:
    llm, _ = make("")
    (bound,) = llm.bind_tools([given]).kwargs["tools"]
    assert bound["function"]["name"] == name
    assert parameter in bound["function"]["parameters"]["properties"]


def test_strict_is_passed_on(make: Callable[..., Any]) -> None:
    llm, _ = make("")
    (bound,) = llm.bind_tools([add], strict=True).kwargs["tools"]
    assert bound["function"]["strict"] is True


BY_NAME = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "auto"),
        ("auto", "auto"),
        (False, "auto"),
        ({"type": "auto"}, "auto"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ({"type": "any"}, "required"),
        ("none", "none"),
        ("add", BY_NAME),
        (BY_NAME, BY_NAME),
        ({"type": "tool", "name": "add"}, BY_NAME),
    ],
)
def test_every_way_of_choosing_is_understood(
    make: Callable[..., Any], given: Any, expected: Any
) -> None:
    llm, _ = make("")
    assert llm.bind_tools([add, Weather], tool_choice=given).kwargs["tool_choice"] == expected


@pytest.mark.parametrize("choice", ["divide", {"function": {"name": "divide"}}, {"x": 1}])
def test_a_choice_that_is_no_tool_is_refused_at_once(make: Callable[..., Any], choice: Any) -> None:
    llm, _ = make("")
    with pytest.raises(InvalidRequestError, match=r"none of the tools \['add'\]"):
        llm.bind_tools([add], tool_choice=choice)


async def test_calls_the_model_decides_on_need_a_parser(make: Callable[..., Any]) -> None:
    llm, engine = make("", tool_call_parser=None)
    with pytest.raises(UnsupportedFeatureError, match="tool_call_parser="):
        llm.bind_tools([add])
    with pytest.raises(UnsupportedFeatureError, match="tool_call_parser="):
        await llm.ainvoke("hi", tools=[add])
    for choice in ("any", "add", "none"):
        llm.bind_tools([add], tool_choice=choice)
    assert not engine.sessions


@pytest.mark.parametrize(
    ("parser", "message"),
    [("hermess", "no tool call parser 'hermess'; it has .*hermes"), ("jamba", "cannot read")],
)
async def test_a_parser_that_vllm_lacks_or_that_does_not_fit_is_an_error(
    make: Callable[..., Any], parser: str, message: str
) -> None:
    llm, _ = make("", tool_call_parser=parser)
    with pytest.raises(EngineConfigError, match=message):
        await llm.bind_tools([add]).ainvoke("hi")


# -- answers ---------------------------------------------------------------------------------------


@EVERY_CALL
async def test_a_call_is_found_in_the_text(make: Callable[..., Any], how: str) -> None:
    llm, engine = make("Let me see. " + written("add", a=1, b=2))
    message = await call(llm.bind_tools([add]), how, "What is 1 + 2?")
    assert [(one["name"], one["args"]) for one in message.tool_calls] == [("add", {"a": 1, "b": 2})]
    assert message.text == "Let me see. "
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert [block["type"] for block in message.content_blocks] == ["text", "tool_call"]
    assert '"name": "add"' in engine.sessions[0].prompt
    assert engine.sessions[0].sampling_params.structured_outputs is None


@EVERY_STREAM
async def test_a_call_is_streamed_piece_by_piece(make: Callable[..., Any], how: str) -> None:
    llm, _ = make(written("add", a=1, b=2) + written("Weather", place="Zorland"))
    chunks = await chunks_of(llm.bind_tools([add, Weather]), how, "hi")
    pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
    arguments = ["", ""]
    for piece in pieces:
        arguments[piece["index"]] += piece["args"]
    assert [json.loads(text) for text in arguments] == [{"a": 1, "b": 2}, {"place": "Zorland"}]
    assert len(pieces) > 4
    assert [piece["name"] for piece in pieces if piece["name"]] == ["add", "Weather"]
    ids = [piece["id"] for piece in pieces if piece["id"]]
    assert len(set(ids)) == len(ids) == 2
    assert "<tool_call>" not in "".join(chunk.text for chunk in chunks)


@EVERY_CALL
async def test_an_answer_without_a_call_is_text(make: Callable[..., Any], how: str) -> None:
    llm, _ = make("It is 3 < 4.")
    message = await call(llm.bind_tools([add]), how, "hi")
    assert (message.text, message.tool_calls) == ("It is 3 < 4.", [])
    assert message.response_metadata["finish_reason"] == "stop"


async def test_a_malformed_call_is_an_invalid_one(make: Callable[..., Any]) -> None:
    llm, _ = make('<tool_call>{"name": "add", "arguments": {"a": 1, "b": nothing}}</tool_call>')
    message = await llm.bind_tools([add]).ainvoke("hi")
    assert [one["name"] for one in message.invalid_tool_calls] == ["add"]


async def test_tools_that_must_not_be_called_stay_out_of_the_prompt(
    make: Callable[..., Any],
) -> None:
    text = written("add", a=1, b=2)
    llm, engine = make(text)
    message = await llm.bind_tools([add], tool_choice="none").ainvoke("hi")
    assert (message.text, message.tool_calls) == (text, [])
    assert "Add two numbers" not in engine.sessions[0].prompt


@pytest.mark.parametrize(
    ("choice", "answer"),
    [
        ("any", '[{"name": "add", "parameters": {"a": 1, "b": 2}}]'),
        ("add", '{"a": 1, "b": 2}'),
    ],
)
@EVERY_CALL
async def test_a_forced_call_is_json_where_the_notation_is_not_known(
    make: Callable[..., Any], how: str, choice: str, answer: str
) -> None:
    llm, engine = make(answer, tool_call_parser=None)
    message = await call(llm.bind_tools([add], tool_choice=choice), how, "hi")
    assert [(one["name"], one["args"]) for one in message.tool_calls] == [("add", {"a": 1, "b": 2})]
    assert message.text == ""
    schema = engine.sessions[0].sampling_params.structured_outputs.json
    assert "integer" in json.dumps(schema)


@pytest.mark.parametrize("choice", ["any", "add"])
async def test_a_forced_call_is_in_the_models_notation_where_that_is_known(
    make: Callable[..., Any], choice: str
) -> None:
    llm, engine = make(written("add", a=1, b=2))
    message = await llm.bind_tools([add], tool_choice=choice).ainvoke("hi")
    assert [(one["name"], one["args"]) for one in message.tool_calls] == [("add", {"a": 1, "b": 2})]
    tag = engine.sessions[0].sampling_params.structured_outputs.structural_tag
    assert "<tool_call>" in tag
    assert '"integer"' in tag


async def test_several_calls_can_be_ruled_out(make: Callable[..., Any]) -> None:
    llm, engine = make('[{"name": "add", "parameters": {}}]', tool_call_parser=None)
    forced = llm.bind_tools([add], tool_choice="any", parallel_tool_calls=False)
    await forced.ainvoke("hi")
    await llm.bind_tools([add], tool_choice="any").ainvoke("hi")
    one, many = (session.sampling_params.structured_outputs.json for session in engine.sessions)
    assert (one["maxItems"], "maxItems" in many) == (1, False)


async def test_nothing_of_it_blocks_the_event_loop(make: Callable[..., Any]) -> None:
    llm, _ = make(written("add", a=1, b=2))
    with no_blocking_calls():
        message = await llm.bind_tools([add], tool_choice="any").ainvoke("hi")
    assert message.tool_calls


# -- conversations ---------------------------------------------------------------------------------


async def test_calls_and_results_go_through_the_chat_template(make: Callable[..., Any]) -> None:
    llm, engine = make("3")
    calls = [{"name": "add", "args": {"a": 1, "b": "é"}, "id": "one", "type": "tool_call"}]
    broken: Any = {"name": "add", "args": '{"a": ', "id": "x", "error": "no JSON"}
    await llm.bind_tools([add]).ainvoke(
        [
            HumanMessage("What is 1 + 2?", name="kim"),
            AIMessage("Well.", tool_calls=calls, invalid_tool_calls=[broken]),
            ToolMessage("3", tool_call_id="one", name="add"),
            AIMessage(
                [
                    {"type": "text", "text": "And "},
                    {"type": "tool_use", "id": "two", "name": "add", "input": {"a": 3}},
                ],
                tool_calls=[{**calls[0], "id": "two", "args": {"a": 3}}],
            ),
            ToolMessage([{"type": "text", "text": "4"}], tool_call_id="two", status="error"),
        ]
    )
    conversation = engine.sessions[0].prompt.split("<|user|>\n")[1]
    assert conversation.startswith(
        "What is 1 + 2?<|end|>\n"
        '<|assistant|>\nWell.<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}\n'
        '</tool_call><tool_call>\n{"name": "add", "arguments": "{\\"a\\": "}\n</tool_call><|end|>\n'
        "<|tool|>\n3<|end|>\n"
        '<|assistant|>\nAnd <tool_call>\n{"name": "add", "arguments": {"a": 3}}\n'
        "</tool_call><|end|>\n<|tool|>\n4<|end|>\n<|assistant|>\n"
    )


async def test_a_langgraph_agent_goes_round(chat_tokenizer: Any) -> None:
    def script(prompt: str) -> str:
        return "It is 3." if "<|tool|>\n3" in prompt else written("add", a=1, b=2)

    llm = ChatStream2LLM(engine=ScriptedEngine(chat_tokenizer, script), tool_call_parser="hermes")
    with_tools = llm.bind_tools([add])

    async def model(state: MessagesState) -> Any:
        return {"messages": [await with_tools.ainvoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_node("tools", ToolNode([add]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    agent = graph.compile()
    question = {"messages": [HumanMessage("What is 1 + 2?")]}
    result = await agent.ainvoke(question)
    assert [message.type for message in result["messages"]] == ["human", "ai", "tool", "ai"]
    assert result["messages"][-1].text == "It is 3."
    tokens = [chunk async for chunk, _ in agent.astream(question, stream_mode="messages")]
    assert len([chunk for chunk in tokens if getattr(chunk, "tool_call_chunks", None)]) > 2


@EVERY_CALL
async def test_tools_work_while_the_context_arrives(make: Callable[..., Any], how: str) -> None:
    llm, engine = make("See: " + written("add", a=1, b=2))
    prompt = ChatPromptTemplate.from_template("Read:\n{context}\nQ: {question}")
    retriever = ScriptedRetriever(deltas=[docs("one"), docs("two")])
    chain = create_streaming_rag_chain(retriever, prompt, llm.bind_tools([add]))
    message = await call(chain, how, {"question": "why?"})
    assert [(one["name"], one["args"]) for one in message.tool_calls] == [("add", {"a": 1, "b": 2})]
    (session,) = engine.sessions
    assert "Add two numbers" in session.before_final.split("Read:\n")[0]
    assert session.before_final.endswith("Read:\none\n\ntwo")
    assert message.response_metadata["stream2llm"]["retrieval_s"] > 0
