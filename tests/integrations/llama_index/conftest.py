"""Fixtures for the LlamaIndex tests."""

from collections.abc import Iterator

import pytest
from llama_index_instrumentation import get_dispatcher

from llama_index.llms.stream2llm import Stream2LLM
from tests.integrations.llama_index.fakes import FakeEngine, Recorder


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    engine.close()


@pytest.fixture
def llm(engine: FakeEngine) -> Stream2LLM:
    return Stream2LLM(engine=engine, temperature=0)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    dispatcher = get_dispatcher()
    recorder = Recorder()
    dispatcher.add_event_handler(recorder)
    yield recorder
    dispatcher.event_handlers.remove(recorder)
