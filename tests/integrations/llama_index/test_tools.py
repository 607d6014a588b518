"""Tools on a model that says what a test wants; ``test_real_engine`` has the grammars."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index.llms.stream2llm import Stream2LLM
from stream2llm_engine import EngineConfigError, InvalidRequestError, UnsupportedFeatureError
from tests.integrations.llama_index.fakes import FakeEngine

Make = Callable[..., tuple[Stream2LLM, FakeEngine]]

HOW = [
    "chat_with_tools",
    "achat_with_tools",
    "stream_chat_with_tools",
    "astream_chat_with_tools",
]


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def weather(place: str) -> str:
    """Tells the weather."""
    return f"It rains in {place}."


TOOLS = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(weather)]


def written(name: str, **arguments: Any) -> str:
    """A call as Hermes and Qwen models write it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture
def make(chat_tokenizer: Any) -> Iterator[Make]:
    engines = []

    def make(answer: str, **options: Any) -> tuple[Stream2LLM, FakeEngine]:
        engine = FakeEngine(reply=answer, tokenizer=chat_tokenizer)
        engines.append(engine)
        options = {"tool_call_parser": "hermes", **options}
        return Stream2LLM(engine=engine, **options), engine

    yield make
    for engine in engines:
        engine.close()


async def ask(llm: Stream2LLM, how: str, **options: Any) -> list[Any]:
    """All responses of one call."""
    method = getattr(llm, how)
    result = method(TOOLS, user_msg="What is 1 + 2?", **options)
    if how.startswith("a"):
        result = await result
    if "astream" in how:
        return [response async for response in result]
    return list(result) if "stream" in how else [result]


def selected(llm: Stream2LLM, response: Any) -> list[tuple[str, dict[str, Any]]]:
    selections = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    return [(each.tool_name, each.tool_kwargs) for each in selections]


@pytest.mark.parametrize("how", HOW)
async def test_a_call_is_found_in_the_text(make: Make, how: str) -> None:
    llm, engine = make("Let me see. " + written("add", a=1, b=2))
    responses = await ask(llm, how)
    assert selected(llm, responses[-1]) == [("add", {"a": 1, "b": 2})]
    assert responses[-1].message.content == "Let me see. "
    assert responses[-1].raw["finish_reason"] == "tool_calls"
    assert responses[-1].additional_kwargs["completion_tokens"] > 10
    assert '"name": "add"' in engine.prompt


@pytest.mark.parametrize("how", HOW[2:])
async def test_a_call_is_streamed_as_it_is_written(make: Make, how: str) -> None:
    llm, _ = make(written("weather", place="Zorland and beyond"))
    responses = await ask(llm, how)
    seen = [selected(llm, response) for response in responses]
    places = [calls[0][1].get("place", "") for calls in seen if calls]
    assert len(set(places)) > 3
    assert all(new.startswith(old) for old, new in pairwise(places))
    assert seen[-1] == [("weather", {"place": "Zorland and beyond"})]
    assert "".join(response.delta for response in responses) == ""
    identities = {
        each.tool_id
        for response in responses
        for each in llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    }
    assert len(identities) == 1


@pytest.mark.parametrize("how", HOW)
async def test_an_answer_without_a_call_is_text(make: Make, how: str) -> None:
    llm, _ = make("It is 3 < 4.")
    response = (await ask(llm, how))[-1]
    assert response.message.content == "It is 3 < 4."
    assert selected(llm, response) == []
    with pytest.raises(ValueError, match="called no tool but answered 'It is 3"):
        llm.get_tool_calls_from_response(response)


async def test_only_one_call_is_kept_unless_several_are_allowed(make: Make) -> None:
    llm, _ = make(written("add", a=1, b=2) + written("weather", place="x"))
    assert len(selected(llm, llm.chat_with_tools(TOOLS, "hi"))) == 1
    both = await llm.achat_with_tools(TOOLS, "hi", allow_parallel_tool_calls=True)
    assert [name for name, _ in selected(llm, both)] == ["add", "weather"]


async def test_a_call_that_is_cut_off_is_an_error_and_is_not_made(make: Make) -> None:
    llm, engine = make('<tool_call>{"name": "weather", "arguments": {"place": "Zor')
    engine.finish_reason = "length"
    with pytest.raises(InvalidRequestError, match="'weather' has no complete arguments"):
        await llm.apredict_and_call(TOOLS, "hi")


# -- who decides ---------------------------------------------------------------------------------


async def test_the_model_may_decide_only_if_it_is_known_how_it_writes(make: Make) -> None:
    llm, engine = make("", tool_call_parser=None)
    for how in HOW:
        with pytest.raises(UnsupportedFeatureError, match="tool_call_parser="):
            await ask(llm, how)
    assert engine.sessions == []


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"tool_required": True}, '[{"name": "add", "parameters": {"a": 1, "b": 2}}]'),
        ({"tool_choice": "any"}, '[{"name": "add", "parameters": {"a": 1, "b": 2}}]'),
        ({"tool_choice": "add"}, '{"a": 1, "b": 2}'),
        ({"tool_choice": {"function": {"name": "add"}}}, '{"a": 1, "b": 2}'),
    ],
)
@pytest.mark.parametrize("how", HOW)
async def test_a_forced_call_needs_no_parser(
    make: Make, how: str, options: dict[str, Any], answer: str
) -> None:
    llm, engine = make(answer, tool_call_parser=None)
    responses = await ask(llm, how, **options)
    assert selected(llm, responses[-1]) == [("add", {"a": 1, "b": 2})]
    assert not responses[-1].message.content
    schema = engine.sessions[0].sampling_params.structured_outputs.json
    assert "integer" in json.dumps(schema)


async def test_a_forced_call_is_in_the_models_notation_if_that_is_known(make: Make) -> None:
    llm, engine = make(written("add", a=1, b=2))
    response = await llm.achat_with_tools(TOOLS, "hi", tool_required=True)
    assert selected(llm, response) == [("add", {"a": 1, "b": 2})]
    tag = engine.sessions[0].sampling_params.structured_outputs.structural_tag
    assert "<tool_call>" in tag


async def test_tools_that_must_not_be_called_stay_out_of_the_prompt(make: Make) -> None:
    text = written("add", a=1, b=2)
    llm, engine = make(text)
    response = await llm.achat_with_tools(TOOLS, "hi", tool_choice="none")
    assert response.message.content == text
    assert "Adds two numbers" not in engine.prompt


async def test_what_is_no_tool_and_what_is_no_parser_are_refused(make: Make) -> None:
    llm, _ = make("")
    with pytest.raises(InvalidRequestError, match=r"none of the tools \['add', 'weather'\]"):
        await llm.achat_with_tools(TOOLS, "hi", tool_choice="divide")
    llm, _ = make("", tool_call_parser="hermess")
    with pytest.raises(EngineConfigError, match="no tool call parser 'hermess'"):
        await llm.achat_with_tools(TOOLS, "hi")


# -- calling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["predict_and_call", "apredict_and_call"])
async def test_predict_and_call_calls_the_tool(make: Make, how: str) -> None:
    llm, _ = make('[{"name": "add", "parameters": {"a": 1, "b": 2}}]', tool_call_parser=None)
    if how == "predict_and_call":
        response = llm.predict_and_call(TOOLS, "What is 1 + 2?", tool_required=True)
    else:
        response = await llm.apredict_and_call(TOOLS, "What is 1 + 2?", tool_required=True)
    assert response.response == "3"
    assert response.sources[0].raw_output == 3


async def test_calls_and_results_go_through_the_chat_template(make: Make) -> None:
    llm, engine = make("3")
    call = {"id": "one", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    history = [
        ChatMessage(role=MessageRole.USER, content="What is 1 + 2?"),
        ChatMessage(
            role=MessageRole.ASSISTANT, content="Well.", additional_kwargs={"tool_calls": [call]}
        ),
        ChatMessage(role=MessageRole.TOOL, content="3", additional_kwargs={"tool_call_id": "one"}),
    ]
    await llm.achat_with_tools(TOOLS, chat_history=history)
    conversation = engine.prompt.split("<|user|>\n")[1]
    assert conversation.startswith(
        "What is 1 + 2?<|end|>\n"
        '<|assistant|>\nWell.<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n'
        "</tool_call><|end|>\n<|tool|>\n3<|end|>\n<|assistant|>\n"
    )
    call["function"]["arguments"] = '{"a": '  # type: ignore[index]
    with pytest.raises(InvalidRequestError, match="no JSON"):
        await llm.achat_with_tools(TOOLS, chat_history=history)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pydantic about LlamaIndex
async def test_an_agent_goes_round(make: Make) -> None:
    llm, engine = make("")
    engine.reply = lambda prompt: "It is 3." if "<|tool|>" in prompt else written("add", a=1, b=2)
    agent = FunctionAgent(tools=TOOLS, llm=llm)
    output: Any = await agent.run("What is 1 + 2?")
    assert str(output) == "It is 3."
    assert [(call.tool_name, call.tool_kwargs) for call in output.tool_calls] == [
        ("add", {"a": 1, "b": 2})
    ]


async def test_a_program_by_function_calls(make: Make) -> None:
    class Place(BaseModel):
        name: str

    llm, _ = make('[{"name": "Place", "parameters": {"name": "Zorland"}}]', tool_call_parser=None)
    program = FunctionCallingProgram.from_defaults(Place, "Name {what}.", llm=llm)
    assert program(what="a place") == Place(name="Zorland")
    assert await program.acall(what="a place") == Place(name="Zorland")


@pytest.mark.skipif(not hasattr(types, "ThinkingBlock"), reason="not in this LlamaIndex")
async def test_reasoning_is_a_block_of_its_own(make: Make) -> None:
    llm, _ = make(
        "It must be 3.</think>" + written("add", a=1, b=2),
        reasoning_parser="deepseek_r1",
        chat_template_kwargs={"enable_thinking": True},
    )
    response = await llm.achat_with_tools(TOOLS, "What is 1 + 2?")
    thinking = [block for block in response.message.blocks if block.block_type == "thinking"]
    assert [block.content for block in thinking] == ["It must be 3."]
    assert selected(llm, response) == [("add", {"a": 1, "b": 2})]
    # It is not sent back.
    again = await llm.achat([response.message])
    assert again.message.content
