"""Reasoning, on a scripted model; ``real_model`` has constraints behind it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from pydantic import ValidationError

from langchain_stream2llm import ChatStream2LLM, create_streaming_rag_chain
from stream2llm_engine import EngineConfigError
from tests.integrations.langchain.calls import EVERY_CALL, EVERY_STREAM, call, chunks_of
from tests.integrations.langchain.fakes import ScriptedRetriever, docs
from tests.integrations.langchain.scripted import ScriptedEngine
from tests.support.chat_llama import REASONING_PARSER

ANSWER = "Two r, and one.</think>\n\nThree."
THOUGHT = "Two r, and one."


@pytest.fixture
def engine(chat_tokenizer: Any) -> ScriptedEngine:
    return ScriptedEngine(chat_tokenizer, lambda _: ANSWER, reasoning_parser=REASONING_PARSER)


@pytest.fixture
def llm(engine: ScriptedEngine) -> ChatStream2LLM:
    return ChatStream2LLM(engine=engine, chat_template_kwargs={"enable_thinking": True})


@EVERY_CALL
async def test_reasoning_is_a_block_of_its_own(
    llm: ChatStream2LLM, engine: ScriptedEngine, how: str
) -> None:
    message = await call(llm, how, "How many r are in strawberry?")
    assert message.content_blocks == [
        {"type": "reasoning", "reasoning": THOUGHT},
        {"type": "text", "text": "\n\nThree."},
    ]
    assert message.content == "\n\nThree."
    thought = len(engine.tokenizer.encode(THOUGHT, add_special_tokens=False))
    assert message.usage_metadata["output_token_details"] == {"reasoning": thought}


@EVERY_STREAM
async def test_reasoning_is_streamed_before_the_answer(llm: ChatStream2LLM, how: str) -> None:
    chunks = await chunks_of(llm, how, "hi")
    kinds = [block["type"] for chunk in chunks for block in chunk.content_blocks]
    assert kinds.index("text") == kinds.count("reasoning") > 3


@EVERY_CALL
async def test_blocks_of_the_newest_format_are_merged(engine: ScriptedEngine, how: str) -> None:
    llm = ChatStream2LLM(
        engine=engine, output_version="v1", chat_template_kwargs={"enable_thinking": True}
    )
    message = await call(llm, how, "hi")
    assert [block["type"] for block in message.content] == ["reasoning", "text"]
    assert message.content[0]["reasoning"] == THOUGHT


async def test_an_answer_without_reasoning_has_none(engine: ScriptedEngine) -> None:
    engine.script = lambda _: "Three."
    message = await ChatStream2LLM(engine=engine).ainvoke("hi")
    assert message.content_blocks == [{"type": "text", "text": "Three."}]
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_token_details"] == {"reasoning": 0}


async def test_without_a_parser_nothing_is_taken_apart_or_counted(chat_tokenizer: Any) -> None:
    llm = ChatStream2LLM(engine=ScriptedEngine(chat_tokenizer, lambda _: ANSWER))
    message = await llm.ainvoke("hi")
    assert message.content == ANSWER
    assert "output_token_details" not in (message.usage_metadata or {})


async def test_a_count_that_the_parser_cannot_give_is_left_out(chat_tokenizer: Any) -> None:
    def script(_: str) -> str:
        return "Here is my thought process: Hm, so. Here is my response: Three."

    llm = ChatStream2LLM(engine=ScriptedEngine(chat_tokenizer, script, reasoning_parser="granite"))
    message = await llm.ainvoke("hi")
    assert message.content_blocks[0]["type"] == "reasoning"
    assert "output_token_details" not in (message.usage_metadata or {})


@pytest.mark.parametrize(
    "thought",
    [
        AIMessage("Hm.", additional_kwargs={"reasoning_content": "Because."}),
        AIMessage(
            [{"type": "reasoning", "reasoning": "Because."}, {"type": "text", "text": "Hm."}]
        ),
    ],
    ids=["v0", "v1"],
)
async def test_earlier_reasoning_goes_back_into_the_chat_template(
    llm: ChatStream2LLM, engine: ScriptedEngine, thought: AIMessage
) -> None:
    await llm.ainvoke([HumanMessage("Why?"), thought, HumanMessage("And?")])
    assert "<think>\nBecause.\n</think>\nHm.<|end|>" in engine.sessions[0].prompt


@EVERY_CALL
async def test_it_works_while_the_context_arrives(
    llm: ChatStream2LLM, engine: ScriptedEngine, how: str
) -> None:
    prompt = ChatPromptTemplate.from_template("Read:\n{context}\nQ: {question}")
    retriever = ScriptedRetriever(deltas=[docs("one"), docs("a </think> in a text")])
    message = await call(
        create_streaming_rag_chain(retriever, prompt, llm), how, {"question": "why?"}
    )
    assert message.content_blocks[0] == {"type": "reasoning", "reasoning": THOUGHT}
    assert message.usage_metadata["output_token_details"]["reasoning"] > 0


def test_the_engines_parser_is_the_models(engine: ScriptedEngine) -> None:
    assert ChatStream2LLM(engine=engine).reasoning_parser == REASONING_PARSER
    own = ChatStream2LLM(model="m", engine_options={"vllm": {"reasoning_parser": "qwen3"}})
    assert own.reasoning_parser == "qwen3"
    assert ChatStream2LLM(model="m", reasoning_parser="qwen3")._config() == own._config()


def test_a_parser_that_is_not_the_engines_is_refused(engine: ScriptedEngine) -> None:
    with pytest.raises(ValidationError, match=r"start it with.*'qwen3'"):
        ChatStream2LLM(engine=engine, reasoning_parser="qwen3")


@pytest.mark.parametrize(
    ("parser", "message"),
    [("deep", "no reasoning parser 'deep'"), ("minimax_m3", "cannot read")],
)
async def test_a_parser_that_vllm_lacks_or_that_does_not_fit_is_an_error(
    chat_tokenizer: Any, parser: str, message: str
) -> None:
    engine = ScriptedEngine(chat_tokenizer, lambda _: ANSWER, reasoning_parser=parser)
    with pytest.raises(EngineConfigError, match=message):
        await ChatStream2LLM(engine=engine).ainvoke("hi")
