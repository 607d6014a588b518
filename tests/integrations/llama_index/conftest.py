"""Fixtures for the LlamaIndex tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index_instrumentation import get_dispatcher

from llama_index.llms.stream2llm import Stream2LLM
from tests.integrations.llama_index.fakes import FakeEngine, Recorder
from tests.support.chat_llama import load_chat_tokenizer


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    engine.close()


@pytest.fixture
def llm(engine: FakeEngine) -> Stream2LLM:
    return Stream2LLM(engine=engine, temperature=0)


@pytest.fixture(scope="session")
def chat_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real tokenizer, whose chat template knows tools and reasoning."""
    return load_chat_tokenizer(tmp_path_factory.mktemp("chat-tokenizer"))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    dispatcher = get_dispatcher()
    recorder = Recorder()
    dispatcher.add_event_handler(recorder)
    yield recorder
    dispatcher.event_handlers.remove(recorder)
