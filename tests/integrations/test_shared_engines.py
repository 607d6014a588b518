"""Models of one configuration run on one engine, whichever framework they are for."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest

from langchain_stream2llm import ChatStream2LLM
from llama_index.llms.stream2llm import Stream2LLM
from stream2llm_engine import EngineConfig
from stream2llm_rag import engine_sharing
from tests.integrations.llama_index.fakes import FakeEngine

LIMIT = {"vllm": {"max_model_len": 64}}


class CountingEngine(FakeEngine):
    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        self.config = config
        self.closings = 0

    def close(self) -> None:
        self.closings += 1
        super().close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[CountingEngine]:
    """The engines that were made."""
    made: list[CountingEngine] = []

    def make(config: EngineConfig) -> CountingEngine:
        made.append(CountingEngine(config))
        return made[-1]

    monkeypatch.setattr(engine_sharing, "StreamEngine", make)
    monkeypatch.setattr(engine_sharing, "_engines", [])
    return made


def test_llama_index_models_share_until_the_last_closes(made: list[CountingEngine]) -> None:
    first = Stream2LLM("m", tenant="gold")
    second = Stream2LLM(engine_config=EngineConfig(model="m"), temperature=0)
    for llm in (first, second, copy.deepcopy(first), second.model_copy()):
        assert llm.complete("hi").text == "one two three"
    (engine,) = made
    first.close()
    first.close()
    assert engine.closings == 0
    assert second.complete("hi").text == "one two three"
    second.close()
    assert engine.closings == 1
    second.complete("hi")
    assert len(made) == 2
    second.close()


def test_other_options_of_the_engine_are_another_engine(made: list[CountingEngine]) -> None:
    llms = [
        Stream2LLM("m"),
        Stream2LLM(engine_config=EngineConfig(model="m", **LIMIT)),
        Stream2LLM("n"),
    ]
    assert len({id(llm.engine) for llm in llms}) == len(made) == 3
    for llm in llms:
        llm.close()
    assert [engine.closings for engine in made] == [1, 1, 1]


def test_a_running_engine_tells_its_context_window_to_its_own_models_only(
    made: list[CountingEngine],
) -> None:
    used, unused = Stream2LLM("m"), Stream2LLM("m")
    used.complete("hi")
    assert used.to_payload()["context_window"] == 5001
    assert unused.to_payload()["context_window"] is None
    used.close()
    assert used.to_payload()["context_window"] is None
    assert len(made) == 1


def test_a_model_that_is_dropped_keeps_no_engine(made: list[CountingEngine]) -> None:
    llm = Stream2LLM("m")
    llm.complete("hi")
    del llm
    gc.collect()
    other = Stream2LLM("n")
    other.complete("hi")
    assert [engine.closings for engine in made] == [1, 0]
    other.close()


@pytest.mark.parametrize("options", [{}, LIMIT])
def test_both_frameworks_share_one_engine(
    made: list[CountingEngine], options: dict[str, Any]
) -> None:
    chat = ChatStream2LLM(model="m", engine_options=options)
    llm = Stream2LLM(engine_config=EngineConfig(model="m", **options))
    assert chat.invoke("hi").text == llm.complete("hi").text == "one two three"
    (engine,) = made
    assert [len(session.operations) > 0 for session in engine.sessions] == [True, True]
    chat.close()
    assert engine.closings == 0
    llm.close()
    assert engine.closings == 1
