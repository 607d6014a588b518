"""The LLM on its own, without retrieval."""

import asyncio
import copy
import pickle
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole
from llama_index.core.callbacks import TokenCountingHandler
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from pydantic import ValidationError

from llama_index.llms.stream2llm import Stream2LLM
from stream2llm_engine import (
    EngineConfig,
    EngineConfigError,
    InvalidRequestError,
    PromptTooLongError,
    SamplingParams,
    UnsupportedFeatureError,
)
from tests.integrations.llama_index.fakes import CHAT_TEMPLATE, Callbacks, FakeEngine, Recorder

MESSAGES = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Hi")]
CHAT = "<system>Be brief.</system><user>Hi</user><assistant>"
USAGE = {"prompt_tokens": len(CHAT), "completion_tokens": 3, "total_tokens": len(CHAT) + 3}


async def chat(llm: Stream2LLM, how: str) -> list[Any]:
    """All responses of one call."""
    match how:
        case "chat":
            return [llm.chat(MESSAGES)]
        case "achat":
            return [await llm.achat(MESSAGES)]
        case "stream_chat":
            return list(llm.stream_chat(MESSAGES))
        case _:
            return [response async for response in await llm.astream_chat(MESSAGES)]


async def complete(llm: Stream2LLM, how: str, formatted: bool) -> list[Any]:
    match how:
        case "complete":
            return [llm.complete("Hi", formatted=formatted)]
        case "acomplete":
            return [await llm.acomplete("Hi", formatted=formatted)]
        case "stream_complete":
            return list(llm.stream_complete("Hi", formatted=formatted))
        case _:
            pieces = await llm.astream_complete("Hi", formatted=formatted)
            return [response async for response in pieces]


# The event loop of these tests is running, so the synchronous calls show that they do not need it.
@pytest.mark.parametrize("how", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_chat_uses_the_chat_template_and_reports_usage(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    responses = await chat(llm, how)
    assert engine.operations == [("finalize", CHAT)]
    last = responses[-1]
    assert last.message.role == MessageRole.ASSISTANT
    assert last.message.content == "one two three"
    assert last.additional_kwargs == last.raw["usage"] == USAGE
    assert last.raw["finish_reason"] == "stop"
    assert last.raw["stream2llm"]["prompt_tokens"] == len(CHAT)
    if "stream" in how:
        assert [response.delta for response in responses] == ["one ", "two ", "three"]
        assert [response.message.content for response in responses][:2] == ["one ", "one two "]
        assert all(response.raw is None for response in responses[:-1])


@pytest.mark.parametrize("how", ["complete", "acomplete", "stream_complete", "astream_complete"])
@pytest.mark.parametrize(
    ("formatted", "prompt"), [(False, "<user>Hi</user><assistant>"), (True, "^Hi")]
)
async def test_complete_asks_as_a_user_unless_the_prompt_is_formatted(
    llm: Stream2LLM, engine: FakeEngine, how: str, formatted: bool, prompt: str
) -> None:
    responses = await complete(llm, how, formatted)
    assert engine.prompt == prompt
    assert responses[-1].text == "one two three"
    assert responses[-1].additional_kwargs["completion_tokens"] == 3


def test_a_formatted_prompt_gets_bos_only_once(llm: Stream2LLM, engine: FakeEngine) -> None:
    llm.complete("^Hi", formatted=True)
    assert engine.prompt == "^Hi"


def test_a_loop_is_not_needed(llm: Stream2LLM) -> None:
    assert llm.chat(MESSAGES).message.content == "one two three"
    assert llm.predict(PromptTemplate("Say {word}"), word="so") == "one two three"
    assert "".join(llm.stream(PromptTemplate("Say {word}"), word="so")) == "one two three"


async def test_streams_are_what_llama_index_recognises(llm: Stream2LLM) -> None:
    # By these it tells a streamed answer from a complete one.
    assert isinstance(llm.stream_chat(MESSAGES), Generator)
    responses = await llm.astream_chat(MESSAGES)
    assert isinstance(responses, AsyncGenerator)
    await responses.aclose()


def test_class(llm: Stream2LLM) -> None:
    names = [base.__name__ for base in Stream2LLM.__mro__]
    assert names[0] == "Stream2LLM"
    assert {FunctionCallingLLM.__name__, BaseLLM.__name__} <= set(names)
    # Async methods of CustomLLM call the synchronous ones on the event loop.
    assert CustomLLM.__name__ not in names
    assert llm.class_name() == "Stream2LLM"


@pytest.mark.parametrize("how", ["achat", "astream_chat"])
async def test_async_calls_leave_the_event_loop_free(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    engine.decoding.open = False
    task = asyncio.create_task(chat(llm, how))
    await engine.until_sent("Hi")
    assert not task.done()
    engine.decoding.open = True
    assert (await task)[-1].message.content == "one two three"


def test_options_become_sampling_parameters(engine: FakeEngine) -> None:
    llm = Stream2LLM(
        engine=engine,
        temperature=0.5,
        max_tokens=7,
        stop=["END"],
        seed=3,
        additional_kwargs={"top_p": 0.5, "min_tokens": 2},
    )
    llm.chat(MESSAGES, temperature=0.25, max_tokens=9)
    (session,) = engine.sessions
    assert session.sampling_params == SamplingParams(
        temperature=0.25, max_tokens=9, stop=["END"], seed=3, top_p=0.5, min_tokens=2
    )


def test_whose_request_it_is_is_said_by_the_model_or_the_call(engine: FakeEngine) -> None:
    llm = Stream2LLM(engine=engine, tenant="gold", priority=2, timeout=60)
    llm.chat(MESSAGES)
    llm.complete("Hi", tenant="silver", priority=1, timeout=30)
    llm.complete("Hi", formatted=True, lora=None)
    assert [session.options for session in engine.sessions] == [
        {"tenant": tenant, "priority": priority, "deadline_s": timeout, "lora": None}
        for tenant, priority, timeout in (("gold", 2, 60), ("silver", 1, 30), ("gold", 2, 60))
    ]


def test_a_lora_adapter_is_known_by_its_directory(engine: FakeEngine) -> None:
    llm = Stream2LLM(engine=engine, lora="/adapters/pirate")
    llm.chat(MESSAGES)
    llm.chat(MESSAGES)
    llm.chat(MESSAGES, lora="/adapters/poet")
    first, second, third = (session.options["lora"] for session in engine.sessions)
    assert first.path == "/adapters/pirate"
    assert first.lora_int_id == second.lora_int_id != third.lora_int_id


def test_variables_of_the_chat_template_reach_it(engine: FakeEngine) -> None:
    shouting = CHAT_TEMPLATE.replace("m.content", "m.content | upper if shout else m.content")
    llm = Stream2LLM(engine=engine, chat_template_kwargs={"chat_template": shouting, "shout": True})
    llm.chat(MESSAGES)
    llm.chat(MESSAGES, chat_template_kwargs={"shout": False})
    assert [session.prompt for session in engine.sessions] == [
        CHAT.replace("Be brief.", "BE BRIEF.").replace("Hi", "HI"),
        CHAT,
    ]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"colour": "red"}, UnsupportedFeatureError, "colour"),
        ({"n": 2}, UnsupportedFeatureError, "one answer a call"),
        ({"temperature": -1}, InvalidRequestError, "temperature"),
    ],
)
async def test_options_that_cannot_be_are_refused_by_the_call(
    llm: Stream2LLM, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await llm.achat(MESSAGES, **options)
    with pytest.raises(error, match=words):
        llm.stream_chat(MESSAGES, **options)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (ChatMessage(role="user", blocks=[ImageBlock(url="http://x/y.png")]), "image"),
        (ChatMessage(role="assistant", additional_kwargs={"tool_calls": ["x"]}), "dictionaries"),
    ],
)
def test_messages_that_are_not_text_are_refused(
    llm: Stream2LLM, message: ChatMessage, words: str
) -> None:
    with pytest.raises(UnsupportedFeatureError, match=words):
        llm.chat([message])


def test_a_prompt_that_is_too_long_is_a_typed_error() -> None:
    llm = Stream2LLM(engine=FakeEngine(limit=10))
    with pytest.raises(PromptTooLongError):
        llm.chat(MESSAGES)


# -- engine and metadata -------------------------------------------------------------------------


async def test_metadata_needs_the_model_for_the_context_window_only(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    # LlamaIndex reads flags in asynchronous methods, where loading would block the event loop.
    metadata = llm.metadata
    assert metadata.is_chat_model
    assert metadata.is_function_calling_model
    assert copy.deepcopy(metadata).model_name == "fake"
    assert "context_window" not in metadata.model_dump()
    assert engine.starts == 0
    assert metadata.context_window == 5001
    assert metadata.model_dump()["context_window"] == 5001
    plain = Stream2LLM(engine=engine, is_function_calling_model=False)
    assert not plain.metadata.is_function_calling_model


def test_nothing_loads_before_it_is_used() -> None:
    config = EngineConfig(model="somewhere", vllm={"max_model_len": 2048})
    llm = Stream2LLM(engine_config=config, max_tokens=100)
    assert llm.metadata.context_window == 2048
    assert llm.metadata.num_output == 100
    assert llm.metadata.model_name == llm.model == "somewhere"
    assert llm.metadata.is_chat_model
    assert llm.to_payload()["context_window"] == 2048
    assert Stream2LLM("elsewhere").to_payload()["context_window"] is None


def test_the_context_window_is_the_engine_s_and_reading_it_starts_the_engine(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    assert engine.starts == 0
    assert llm.metadata.context_window == 5001
    assert engine.starts == 1


def test_a_model_is_needed_and_only_one() -> None:
    config = EngineConfig(model="a")
    with pytest.raises(EngineConfigError, match="model"):
        Stream2LLM()
    with pytest.raises(EngineConfigError, match="'b'"):
        Stream2LLM("b", engine_config=config)
    llm = Stream2LLM("a", engine_config=config)
    assert llm.engine.config == config
    llm.close()


@pytest.mark.parametrize("argument", [{"temprature": 0}, {"tenent": "gold"}, {"max_model_len": 64}])
def test_an_argument_that_does_not_exist_is_an_error(
    engine: FakeEngine, argument: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(argument))):
        Stream2LLM(engine=engine, **argument)


def test_copies_share_the_engine() -> None:
    llm = Stream2LLM("somewhere")
    assert copy.deepcopy(llm).engine is llm.engine is llm.model_copy().engine
    llm.close()


def test_it_survives_serialisation_without_its_engine(llm: Stream2LLM) -> None:
    restored = Stream2LLM.from_dict(llm.to_dict())
    assert restored.model == "fake"
    assert restored.temperature == 0
    assert restored.engine_config == llm.engine_config
    assert pickle.loads(pickle.dumps(llm)).engine.config.model == "fake"


async def test_close_frees_only_its_own_engine(llm: Stream2LLM, engine: FakeEngine) -> None:
    await llm.aclose()
    assert (await llm.achat(MESSAGES)).message.content == "one two three"
    assert llm.engine is engine
    own = Stream2LLM("somewhere")
    before = own.engine
    own.close()
    assert own.engine is not before
    own.close()


# -- leaving early -------------------------------------------------------------------------------


@pytest.mark.parametrize("started", [False, True])
async def test_dropping_a_stream_aborts_the_request(
    llm: Stream2LLM, engine: FakeEngine, started: bool
) -> None:
    engine.reply = lambda _: "word " * 100_000
    responses = await llm.astream_chat(MESSAGES)
    await engine.until_sent("Hi")
    if started:
        await anext(responses)
    del responses
    await engine.until_aborted()


@pytest.mark.parametrize("started", [False, True])
def test_dropping_a_sync_stream_aborts_the_request(
    llm: Stream2LLM, engine: FakeEngine, started: bool
) -> None:
    engine.reply = lambda _: "word " * 100_000
    responses = llm.stream_chat(MESSAGES)
    engine.wait_until(lambda: any("Hi" in text for text in engine.sent()))
    if started:
        next(responses)
    del responses
    engine.wait_until_aborted()


async def test_cancelling_a_call_aborts_the_request(llm: Stream2LLM, engine: FakeEngine) -> None:
    engine.decoding.open = False
    task = asyncio.create_task(llm.achat(MESSAGES))
    await engine.until_sent("Hi")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.operations[-1] == ("abort", "")


# -- observers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_observers_see_every_call_once(
    engine: FakeEngine, recorder: Recorder, how: str
) -> None:
    callbacks = Callbacks()
    llm = Stream2LLM(engine=engine, callback_manager=callbacks.manager)
    await chat(llm, how)
    progress = ["LLMChatInProgressEvent"] * 3 if "stream" in how else []
    assert recorder.names == ["LLMChatStartEvent", *progress, "LLMChatEndEvent"]
    assert "fake" in recorder.of("LLMChatStartEvent").model_dict.values()
    assert recorder.of("LLMChatEndEvent").response.raw["usage"] == USAGE
    assert callbacks.seen == ["llm start", "llm end"]


def test_token_counts_are_the_engine_s(engine: FakeEngine) -> None:
    counter = TokenCountingHandler(tokenizer=lambda _: [])
    llm = Stream2LLM(engine=engine)
    llm.callback_manager.add_handler(counter)
    llm.chat(MESSAGES)
    assert counter.prompt_llm_token_count == len(CHAT)
    assert counter.completion_llm_token_count == 3
