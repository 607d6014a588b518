"""ChatStream2LLM as an ordinary chat model, on the fake engine."""

import asyncio
import gc
import threading
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import ValidationError

from langchain_stream2llm import ChatStream2LLM
from stream2llm_engine import (
    EngineConfigError,
    InvalidRequestError,
    SessionTimeoutError,
    UnsupportedFeatureError,
)
from stream2llm_rag import PromptTemplateError
from tests.integrations.langchain.fakes import FakeEngine, Recorder, eventually

CONVERSATION = [
    SystemMessage("Be kind."),
    HumanMessage("hi"),
    AIMessage("hello"),
    ChatMessage(role="critic", content="hm"),
    HumanMessage([{"type": "text", "text": "bye"}]),
]
RENDERED = (
    "<system>Be kind.</system><user>hi</user><assistant>hello</assistant><critic>hm</critic>"
    "<user>bye</user><assistant>"
)


async def call(llm: ChatStream2LLM, how: str, messages: Any, **kwargs: Any) -> Any:
    """Returns the message of one call."""
    match how:
        case "invoke":
            return await asyncio.to_thread(llm.invoke, messages, **kwargs)
        case "ainvoke":
            return await llm.ainvoke(messages, **kwargs)
        case "stream":
            chunks = await asyncio.to_thread(lambda: list(llm.stream(messages, **kwargs)))
        case _:
            chunks = [chunk async for chunk in llm.astream(messages, **kwargs)]
    assert len(chunks) > 1
    return sum(chunks[1:], chunks[0])


EVERY_CALL = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])


@EVERY_CALL
async def test_a_conversation_goes_through_the_chat_template(
    llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    message = await call(llm, how, CONVERSATION)
    assert message.text == f"saw {RENDERED}"
    assert engine.operations == [("finalize", RENDERED)]


@EVERY_CALL
async def test_metadata_comes_once_with_the_last_chunk(llm: ChatStream2LLM, how: str) -> None:
    message = await call(llm, how, "hi")
    assert message.usage_metadata == {
        "input_tokens": 26,
        "output_tokens": 2,
        "total_tokens": 28,
        "input_token_details": {"cache_read": 3},
    }
    assert message.response_metadata["model_name"] == "fake"
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["stream2llm"]["ttft_s"] == 0.5


async def test_only_the_last_chunk_is_marked_last(llm: ChatStream2LLM) -> None:
    chunks = [chunk async for chunk in llm.astream("hi")]
    assert [chunk.chunk_position for chunk in chunks] == [None, "last"]
    assert not chunks[0].response_metadata


@EVERY_CALL
async def test_stop_of_the_call_replaces_the_models(engine: FakeEngine, how: str) -> None:
    llm = ChatStream2LLM(engine=engine, stop=["a"])
    await call(llm, how, "hi")
    await call(llm, how, "hi", stop=["b", "c"])
    assert [session.sampling_params.stop for session in engine.sessions] == [["a"], ["b", "c"]]


async def test_sampling_options_of_the_model_and_of_the_call(engine: FakeEngine) -> None:
    llm = ChatStream2LLM(
        engine=engine, temperature=0.5, top_p=0.9, seed=7, max_tokens=5, sampling={"top_k": 3}
    )
    await llm.ainvoke("hi")
    await llm.bind(temperature=0.1, min_tokens=2, tenant="t").ainvoke("hi")
    await ChatStream2LLM(engine=engine).ainvoke("hi")
    own, bound, default = (session.sampling_params for session in engine.sessions)
    assert (own.temperature, own.top_p, own.seed, own.max_tokens, own.top_k) == (0.5, 0.9, 7, 5, 3)
    assert (bound.temperature, bound.min_tokens, bound.max_tokens) == (0.1, 2, 5)
    assert default.max_tokens is None
    assert [session.tenant for session in engine.sessions] == ["default", "t", "default"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"temprature": 1}, UnsupportedFeatureError),
        ({"model": "another"}, UnsupportedFeatureError),
        ({"temperature": -1}, InvalidRequestError),
        ({"prompt_logprobs": -7}, InvalidRequestError),
    ],
)
async def test_options_that_cannot_be_followed_are_errors(
    llm: ChatStream2LLM, engine: FakeEngine, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await llm.ainvoke("hi", **options)
    assert not engine.sessions


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage([{"type": "image", "url": "http://x/y.png"}]),
        HumanMessage([{"type": "tool_use", "id": "1", "name": "f", "input": {}}]),
        AIMessage([{"type": "image", "url": "http://x/y.png"}]),
        ToolMessage([{"type": "image", "url": "http://x/y.png"}], tool_call_id="1"),
        FunctionMessage(content="x", name="f"),
    ],
)
async def test_messages_with_something_else_than_text_are_errors(
    llm: ChatStream2LLM, engine: FakeEngine, message: BaseMessage
) -> None:
    with pytest.raises(UnsupportedFeatureError, match=r"content blocks of type|messages of type"):
        await llm.ainvoke([message])
    assert not engine.sessions


async def test_the_chat_template_may_be_replaced_and_given_variables(engine: FakeEngine) -> None:
    llm = ChatStream2LLM(
        engine=engine,
        chat_template="{{ mood }}: {{ messages[0].content }}",
        chat_template_kwargs={"mood": "happy"},
    )
    await llm.ainvoke("hi")
    await llm.ainvoke("hi", chat_template_kwargs={"mood": "sad"})
    prompts = [session.operations[-1][1] for session in engine.sessions]
    assert prompts == ["happy: hi", "sad: hi"]
    with pytest.raises(PromptTemplateError):
        await llm.ainvoke("hi", chat_template_kwargs={"chat_template": "{{ nothing.at.all }}"})


async def test_a_consumer_that_leaves_aborts_the_request(
    llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    stream: Any = llm.astream("hi")
    await anext(stream)
    await stream.aclose()
    assert engine.operations[-1] == ("abort", "")


async def test_a_cancelled_call_aborts_the_request(llm: ChatStream2LLM, engine: FakeEngine) -> None:
    decoding = asyncio.Event()
    engine.decoding = decoding.wait
    task = asyncio.create_task(llm.ainvoke("hi"))
    await engine.until_sent("<user>hi")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.operations[-1] == ("abort", "")


def test_leaving_the_synchronous_stream_aborts_the_request(
    llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    release = threading.Event()
    engine.decoding = lambda: asyncio.to_thread(release.wait, 1)
    release.set()
    stream: Any = llm.stream("hi there")
    next(stream)
    release.clear()
    stream.close()
    eventually(lambda: engine.sessions[0].state in ("aborted", "finished"))


async def test_a_dropped_stream_aborts_the_request(llm: ChatStream2LLM, engine: FakeEngine) -> None:
    stream: Any = llm.astream("hi")
    await anext(stream)
    del stream
    gc.collect()
    for _ in range(10):
        await asyncio.sleep(0)
    assert engine.operations[-1] == ("abort", "")


async def test_a_late_answer_is_a_timeout_and_aborts(engine: FakeEngine) -> None:
    engine.decoding = asyncio.Event().wait
    llm = ChatStream2LLM(engine=engine, timeout=0.01)
    with pytest.raises(SessionTimeoutError, match=r"0\.01 s"):
        await llm.ainvoke("hi")
    assert engine.operations[-1] == ("abort", "")


async def test_engine_errors_reach_the_caller_and_the_callbacks(
    llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    engine.fail_open = InvalidRequestError("no")
    recorder = Recorder()
    for how in ("invoke", "ainvoke", "stream", "astream"):
        with pytest.raises(InvalidRequestError):
            await call(llm, how, "hi", config={"callbacks": [recorder]})
    assert recorder.names == ["model_start", "model_error"] * 4


async def test_batches_run_side_by_side(llm: ChatStream2LLM, engine: FakeEngine) -> None:
    release = asyncio.Event()
    engine.decoding = release.wait
    task = asyncio.create_task(llm.abatch(["a", "b", "c"]))
    for text in "abc":
        await engine.until_sent(f"<user>{text}")
    release.set()
    assert len(await task) == 3


def test_tokens_are_counted_with_the_models_tokenizer(llm: ChatStream2LLM) -> None:
    assert llm.get_num_tokens("12345") == 5


def test_a_model_needs_a_name_or_an_engine(engine: FakeEngine) -> None:
    with pytest.raises(EngineConfigError):
        ChatStream2LLM()
    with pytest.raises(EngineConfigError, match="polizy"):
        ChatStream2LLM(model="x", engine_options={"polizy": "fcfs"})
    with pytest.raises(ValidationError, match="another"):
        ChatStream2LLM(model="another", engine=engine)
    assert ChatStream2LLM(engine=engine).model == "fake"


def test_the_engine_stays_out_of_traces_and_cache_keys(llm: ChatStream2LLM) -> None:
    assert "engine" not in llm._identifying_params
    assert "engine=" not in repr(llm)
    assert llm._get_ls_params(stop=["x"])["ls_provider"] == "stream2llm"
    assert llm._get_ls_params()["ls_model_name"] == "fake"
    assert (
        llm._get_llm_string()
        == ChatStream2LLM(engine=FakeEngine(), temperature=0)._get_llm_string()
    )
    assert llm._get_llm_string() != ChatStream2LLM(engine=llm.engine)._get_llm_string()


async def test_an_injected_engine_is_not_closed(llm: ChatStream2LLM, engine: FakeEngine) -> None:
    llm.close()
    await llm.aclose()
    await llm.ainvoke("hi")
