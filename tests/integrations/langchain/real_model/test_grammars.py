"""Tool calls, objects and other constraints, held by vLLM's grammars."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate

from langchain_stream2llm import ChatStream2LLM, StreamingRetriever, create_streaming_rag_chain
from stream2llm_engine import InvalidRequestError
from tests.integrations.langchain.calls import EVERY_CALL, call
from tests.integrations.langchain.real_model.forms import Stay, Trip
from tests.support.chat_llama import TOOL_CALL_PARSER

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


@pytest.mark.parametrize("parser", [None, TOOL_CALL_PARSER])
@pytest.mark.parametrize("choice", ["any", "Stay"])
@EVERY_CALL
async def test_a_forced_call_keeps_to_its_schema(
    params: dict[str, Any], how: str, choice: str, parser: str | None
) -> None:
    llm = ChatStream2LLM(**{**params, "tool_call_parser": parser})
    message = await call(llm.bind_tools([Trip, Stay], tool_choice=choice), how, "Hm?")
    assert message.tool_calls
    assert not message.invalid_tool_calls
    for one in message.tool_calls:
        (Trip if one["name"] == "Trip" else Stay).model_validate(one["args"])
    assert choice == "any" or [one["name"] for one in message.tool_calls] == ["Stay"]
    assert message.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@EVERY_CALL
async def test_an_answer_keeps_to_its_schema(llm: ChatStream2LLM, how: str, method: Any) -> None:
    chain = llm.with_structured_output(Trip, method=method)
    if how.endswith("stream"):
        pieces = [piece async for piece in chain.astream("Hm?")]
        assert isinstance(pieces[-1], Trip)
    else:
        assert isinstance(await call(chain, how, "Hm?"), Trip)


async def test_any_json_object_is_an_object(llm: ChatStream2LLM) -> None:
    answer = await llm.with_structured_output(method="json_mode").ainvoke("Hm?")
    assert isinstance(answer, dict)


@EVERY_CALL
async def test_a_call_the_model_writes_by_itself_is_found(llm: ChatStream2LLM, how: str) -> None:
    """The constraint puts into its mouth what other weights would say."""
    written = r'Aye\. <tool_call>\{"name": "Stay", "arguments": \{"reason": "(rain|snow)"\}\}'
    mouth = {"regex": written + "</tool_call>"}
    talking = llm.bind_tools([Trip, Stay], structured_outputs=mouth)
    message = await call(talking, how, "Hm?")
    (one,) = message.tool_calls
    assert Stay.model_validate(one["args"]).reason in ("rain", "snow")
    assert message.text == "Aye. "


async def test_a_schema_without_a_grammar_is_a_typed_error(llm: ChatStream2LLM) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "("}}}
    with pytest.raises(InvalidRequestError):
        await llm.with_structured_output(schema).ainvoke("Hm?")


@EVERY_CALL
async def test_constraints_hold_behind_the_reasoning(thinking: ChatStream2LLM, how: str) -> None:
    form = {"json_schema": {"name": "stay", "schema": Stay.model_json_schema()}}
    llm = thinking.bind(response_format={"type": "json_schema", **form})
    message = await call(llm, how, "Hm?")
    assert Stay.model_validate_json(message.text).reason in ("rain", "snow")
    reasoning, text = message.content_blocks
    assert (reasoning["type"], text["type"]) == ("reasoning", "text")
    assert set(reasoning["reasoning"].strip()) <= {"a", '"'}
    usage = message.usage_metadata
    assert 4 < usage["output_token_details"]["reasoning"] < usage["output_tokens"]


class TwoDocuments(StreamingRetriever):
    async def _astream_documents(self, query: str, *, run_manager: Any) -> Any:
        for name in ("Zorland", "Mirapol"):
            yield [Document(id=name, page_content=f"The capital of {name} is far away. " * 8)]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@EVERY_CALL
async def test_grammars_hold_for_prompts_that_arrive_in_pieces(
    llm: ChatStream2LLM, how: str, method: Any
) -> None:
    prompt = ChatPromptTemplate.from_template("Read:\n{context}\nQ: {question}")
    structured = llm.with_structured_output(Stay, method=method, include_raw=True)
    chain = create_streaming_rag_chain(TwoDocuments(), prompt, structured)
    result = await call(chain, how, {"question": "why?"})
    assert isinstance(result["parsed"], Stay)
    report = result["raw"].response_metadata["stream2llm"]
    assert report["document_ids"] == ["Zorland", "Mirapol"]
    assert report["prefilled_before_final"] > 0
