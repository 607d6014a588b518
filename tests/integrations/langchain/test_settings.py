"""Settings of the chat model: what they are taken for, and who gets to see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import tool
from pydantic import ValidationError

from langchain_stream2llm import ChatStream2LLM
from stream2llm_rag import engine_sharing
from tests.integrations.langchain.calls import EVERY_CALL, call
from tests.integrations.langchain.fakes import FakeEngine, Recorder
from tests.integrations.langchain.scripted import ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import Callable


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def scripted(chat_tokenizer: Any) -> ScriptedEngine:
    return ScriptedEngine(chat_tokenizer, lambda _: "one two three", max_model_len=64)


def test_a_setting_that_does_not_exist_is_an_error(engine: FakeEngine) -> None:
    with pytest.raises(ValidationError, match="temprature"):
        ChatStream2LLM(engine=engine, temprature=0)  # type: ignore[call-arg]


def test_settings_of_hosted_models_do_no_harm(engine: FakeEngine) -> None:
    llm = ChatStream2LLM(engine=engine, api_key="secret", max_retries=3, timeout=5)
    assert llm.timeout == 5
    assert "secret" not in repr(llm) + dumps(llm) + llm._get_llm_string()


# -- the engine ------------------------------------------------------------------------------------


class CountingEngine(FakeEngine):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.starts = self.closings = 0

    async def start(self) -> None:
        self.starts += 1

    def close(self) -> None:
        self.closings += 1


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> list[CountingEngine]:
    """The engines that were made."""
    made: list[CountingEngine] = []

    def make(config: Any) -> CountingEngine:
        made.append(CountingEngine(config))
        return made[-1]

    monkeypatch.setattr(engine_sharing, "StreamEngine", make)
    return made


def test_nothing_loads_before_the_first_call(counting: list[CountingEngine]) -> None:
    llm = ChatStream2LLM(model="m", tool_call_parser="hermes", lora_adapters={"a": "/a"})
    llm.bind_tools([add])
    llm.with_structured_output({"title": "T", "type": "object", "properties": {}})
    assert llm.profile
    assert not counting
    llm.invoke("hi")
    assert [engine.starts for engine in counting] == [1]
    llm.close()


async def test_leaving_with_closes_what_was_opened(counting: list[CountingEngine]) -> None:
    with ChatStream2LLM(model="m") as llm:
        llm.invoke("hi")
        assert [engine.closings for engine in counting] == [0]
    assert [engine.closings for engine in counting] == [1]
    async with ChatStream2LLM(model="m") as llm:
        await llm.ainvoke("hi")
    assert [engine.closings for engine in counting] == [1, 1]


def test_models_and_their_copies_share_an_engine_until_the_last_closes(
    counting: list[CountingEngine],
) -> None:
    options: dict[str, Any] = {"model": "m", "engine_options": {"vllm": {"max_model_len": 64}}}
    first, second = ChatStream2LLM(**options), ChatStream2LLM(**options, max_tokens=1)
    for llm in (first, second, first.model_copy(), first.bind(tenant="t")):
        llm.invoke("hi")
    (engine,) = counting
    first.close()
    assert engine.closings == 0
    second.close()
    assert engine.closings == 1
    second.invoke("hi")
    assert len(counting) == 2
    second.close()


def test_the_engine_is_configured_for_what_the_model_needs() -> None:
    llm = ChatStream2LLM(
        model="m",
        reasoning_parser="qwen3",
        lora_adapters={"a": "/a"},
        engine_options={"policy": "fcfs", "vllm": {"max_model_len": 64}},
    )
    config = llm._config()
    assert config.policy == "fcfs"
    assert config.vllm == {
        "max_model_len": 64,
        "reasoning_parser": "qwen3",
        "enable_lora": True,
    }


# -- calls -----------------------------------------------------------------------------------------


@EVERY_CALL
async def test_scheduling_and_adapter_go_with_the_session(
    scripted: ScriptedEngine, how: str
) -> None:
    llm = ChatStream2LLM(engine=scripted, tenant="t", priority=2, lora_adapters={"a": "/dir/a"})
    await call(llm, how, "hi")
    await call(llm, how, "hi", tenant="u", priority=-1, deadline_s=9, model="a")
    own, changed = (session.options for session in scripted.sessions)
    assert own == {"tenant": "t", "priority": 2, "deadline_s": None, "lora": None}
    assert changed.pop("lora").lora_path == "/dir/a"
    assert changed == {"tenant": "u", "priority": -1, "deadline_s": 9}


async def test_adapters_are_told_apart_by_their_path(scripted: ScriptedEngine) -> None:
    for paths in ({"a": "/x", "b": "/y"}, {"a": "/z"}):
        llm = ChatStream2LLM(engine=scripted, lora_adapters=paths)
        for name in paths:
            await llm.ainvoke("hi", model=name)
            await llm.ainvoke("hi", model=name)
    adapters = [session.options["lora"] for session in scripted.sessions]
    assert [adapter.lora_path for adapter in adapters] == ["/x", "/x", "/y", "/y", "/z", "/z"]
    assert len({adapter.lora_int_id for adapter in adapters}) == 3
    assert len({adapter.lora_name for adapter in adapters}) == 3


@EVERY_CALL
async def test_calls_wait_for_the_rate_limiter(engine: FakeEngine, how: str) -> None:
    class Limiter(BaseRateLimiter):
        calls = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.calls += blocking
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            return self.acquire(blocking=blocking)

    limiter = Limiter()
    await call(ChatStream2LLM(engine=engine, rate_limiter=limiter), how, "hi")
    assert limiter.calls == 1


@pytest.mark.parametrize(("streaming", "tokens"), [(True, 2), (False, 0)])
async def test_whole_answers_are_streamed_to_callbacks_on_demand(
    engine: FakeEngine, streaming: bool, tokens: int
) -> None:
    recorder = Recorder()
    llm = ChatStream2LLM(engine=engine, streaming=streaming)
    await llm.ainvoke("hi", config={"callbacks": [recorder]})
    assert recorder.counts["token"] == tokens


async def test_several_answers_have_their_usage_once(scripted: ScriptedEngine) -> None:
    llm = ChatStream2LLM(engine=scripted, n=2)
    (generations,) = (await llm.agenerate([[HumanMessage("hi")]])).generations
    first, second = cast("Any", [generation.message for generation in generations])  # type: ignore[union-attr]
    answer = len(scripted.tokenizer.encode("one two three", add_special_tokens=False))
    assert first.usage_metadata["output_tokens"] == 2 * answer
    assert (second.text, second.usage_metadata) == ("one two three", None)


def test_tokens_of_messages_are_those_of_the_prompt(engine: FakeEngine) -> None:
    llm = ChatStream2LLM(engine=engine, chat_template="{{ tools[0].function.name }}{{ messages }}")
    messages: Any = [HumanMessage("hi")]
    plain = ChatStream2LLM(engine=engine).get_num_tokens_from_messages(messages)
    assert plain == len("<user>hi</user><assistant>")
    assert llm.get_num_tokens_from_messages(messages, [add]) == len(
        "add[{'role': 'user', 'content': 'hi'}]"
    )


# -- what LangChain knows --------------------------------------------------------------------------


@pytest.fixture
def profile(scripted: ScriptedEngine) -> Callable[..., Any]:
    return lambda **options: ChatStream2LLM(engine=scripted, **options).profile


def test_the_profile_says_what_the_model_can_do(profile: Callable[..., Any]) -> None:
    bare, able = profile(), profile(tool_call_parser="hermes")
    assert (bare["tool_calling"], able["tool_calling"]) == (False, True)
    assert bare["structured_output"] is bare["tool_choice"] is True
    assert bare["reasoning_output"] is bare["image_inputs"] is False
    assert bare["max_input_tokens"] == 63
    thinking = ChatStream2LLM(model="m", reasoning_parser="qwen3")
    assert thinking.profile is not None
    assert thinking.profile["reasoning_output"] is True
    assert "max_input_tokens" not in thinking.profile


def test_a_profile_that_was_given_stays(profile: Callable[..., Any]) -> None:
    assert profile(profile={"max_input_tokens": 7}) == {"max_input_tokens": 7}


def test_a_running_engine_knows_its_limit(scripted: ScriptedEngine) -> None:
    class Running(type(scripted)):  # type: ignore[misc]
        max_prompt_tokens = 21

    scripted.__class__ = Running
    assert (ChatStream2LLM(engine=scripted).profile or {})["max_input_tokens"] == 21


def test_tracers_get_the_standard_parameters(engine: FakeEngine) -> None:
    llm = ChatStream2LLM(engine=engine, temperature=0.5, max_tokens=7, stop=["x"])
    params = llm._get_ls_params()
    assert params == {
        "ls_provider": "stream2llm",
        "ls_model_type": "chat",
        "ls_model_name": "fake",
        "ls_temperature": 0.5,
        "ls_max_tokens": 7,
        "ls_stop": ["x"],
    }
    params = llm._get_ls_params(stop=["y"], model="adapter", temperature=0.1)
    assert (params["ls_stop"], params["ls_model_name"], params["ls_temperature"]) == (
        ["y"],
        "adapter",
        0.1,
    )


def test_whatever_changes_answers_changes_the_key_of_the_cache(engine: FakeEngine) -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"temperature": 0},
        {"n": 2},
        {"logprobs": True},
        {"sampling": {"top_k": 1}},
        {"tool_call_parser": "hermes"},
        {"lora_adapters": {"a": "/a"}},
        {"lora_adapters": {"a": "/b"}},
        {"chat_template": "x"},
    ]
    keys = {ChatStream2LLM(engine=engine, **one)._get_llm_string() for one in settings}
    assert len(keys) == len(settings)
