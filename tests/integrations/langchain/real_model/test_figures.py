"""What is reported about an answer: log-probabilities, usage, counts of tokens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.prompts import ChatPromptTemplate

from stream2llm_engine import SamplingParams
from tests.integrations.langchain.calls import EVERY_CALL, call
from tests.integrations.langchain.real_model.forms import Stay, Trip

if TYPE_CHECKING:
    from langchain_stream2llm import ChatStream2LLM
    from stream2llm_engine import StreamEngine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


@EVERY_CALL
async def test_logprobs_are_those_of_the_engine(
    plain: ChatStream2LLM, engine: StreamEngine, how: str
) -> None:
    message = await call(plain.bind(logprobs=True, top_logprobs=2), how, "Hm?")
    entries = message.response_metadata["logprobs"]["content"]
    assert len(entries) == message.usage_metadata["output_tokens"]
    prompt = engine.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hm?"}], add_generation_prompt=True, tokenize=False
    )
    params = SamplingParams(temperature=0, max_tokens=12, logprobs=0)
    expected = [
        candidates[token_id].logprob
        async for output in engine.generate(prompt, params)
        for token_id, candidates in zip(output.token_ids, output.logprobs or (), strict=True)
    ]
    assert [entry["logprob"] for entry in entries] == pytest.approx(expected, abs=1e-4)
    for entry in entries:
        best, second = entry["top_logprobs"]
        assert best == {name: entry[name] for name in ("token", "bytes", "logprob")}
        assert second["logprob"] <= best["logprob"]


async def test_no_logprobs_are_reported_unless_asked_for(plain: ChatStream2LLM) -> None:
    assert "logprobs" not in (await plain.ainvoke("Hm?")).response_metadata
    message = await plain.bind(logprobs=True).ainvoke("Hm?")
    assert message.response_metadata["logprobs"]["content"][0]["top_logprobs"] == []


@pytest.mark.parametrize("tools", [None, [Trip, Stay]])
async def test_tokens_of_a_prompt_are_counted_as_the_engine_does(
    llm: ChatStream2LLM, tools: Any
) -> None:
    messages = ChatPromptTemplate.from_messages(
        [("system", "Be kind."), ("human", "Hm?")]
    ).format_messages()
    asked = llm.bind_tools(tools) if tools else llm
    usage = (await asked.ainvoke(messages)).usage_metadata
    counted = await asyncio.to_thread(llm.get_num_tokens_from_messages, messages, tools)
    assert usage is not None
    assert counted == usage["input_tokens"]
