"""What a call may ask for: several answers, an end, an adapter, a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from langchain_stream2llm import ChatStream2LLM
from stream2llm_engine import DeadlineExceededError, UnsupportedFeatureError

if TYPE_CHECKING:
    from stream2llm_engine import StreamEngine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


@pytest.mark.parametrize("how", ["generate", "agenerate"])
async def test_several_answers_to_one_prompt(engine: StreamEngine, how: str) -> None:
    sampling = {"ignore_eos": True}
    llm = ChatStream2LLM(engine=engine, temperature=2, seed=1, max_tokens=8, n=3, sampling=sampling)
    messages = [llm._convert_input("Hm?").to_messages()]
    if how == "generate":
        result = await asyncio.to_thread(llm.generate, messages)
    else:
        result = await llm.agenerate(messages)
    (generations,) = result.generations
    answers: list[Any] = [generation.message for generation in generations]  # type: ignore[union-attr]
    assert len({answer.text for answer in answers}) == 3
    first, *others = [answer.usage_metadata for answer in answers]
    assert first["output_tokens"] == 24
    assert others == [None, None]
    assert [answer.response_metadata["finish_reason"] for answer in answers] == ["length"] * 3


async def test_several_answers_cannot_be_streamed(plain: ChatStream2LLM) -> None:
    with pytest.raises(UnsupportedFeatureError, match="generate"):
        await anext(aiter(plain.astream("Hm?", n=2)))
    with pytest.raises(UnsupportedFeatureError, match="generate"):
        next(iter(plain.stream("Hm?", n=2)))
    assert (await plain.ainvoke("Hm?", n=2, temperature=1)).text


async def test_stop_strings_end_the_answer(engine: StreamEngine, llm: ChatStream2LLM) -> None:
    for stopping in (llm.bind(stop=["aaa"]), llm.model_copy(update={"stop": ["aaa"]})):
        message = await stopping.ainvoke("Hm?")
        assert message.text == ""
        assert message.response_metadata["finish_reason"] == "stop"


async def test_a_lora_adapter_answers_under_its_name(
    params: dict[str, Any], plain: ChatStream2LLM
) -> None:
    params = {**params, "sampling": {}, "max_tokens": 4, "logprobs": True}
    llm = ChatStream2LLM(**params)
    by_default = ChatStream2LLM(**params, model="adapter")
    own, adapted, default = [
        await one.ainvoke("Hm?") for one in (llm, llm.bind(model="adapter"), by_default)
    ]
    for message in (adapted, default):
        assert message.response_metadata["model_name"] == "adapter"
    numbers = [
        [entry["logprob"] for entry in message.response_metadata["logprobs"]["content"]]
        for message in (own, adapted, default)
    ]
    assert numbers[1] == pytest.approx(numbers[2], abs=1e-4)
    assert numbers[0] != pytest.approx(numbers[1], abs=1e-2)


async def test_the_engines_deadline_is_passed_on(plain: ChatStream2LLM) -> None:
    with pytest.raises(DeadlineExceededError):
        await plain.ainvoke("Hm?", deadline_s=0.001, max_tokens=1500, ignore_eos=True)
