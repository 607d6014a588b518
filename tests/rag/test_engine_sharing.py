"""One engine per configuration, however many use it."""

import gc
from collections.abc import Iterator
from typing import Any, cast

import pytest

from stream2llm_engine import EngineConfig
from stream2llm_rag import engine_sharing
from stream2llm_rag.engine_sharing import EngineUser, release_engine, shared_engine


class CountingEngine:
    """Stands in for the engine, of which a process runs one: it counts its closings."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.closings = 0

    def close(self) -> None:
        self.closings += 1


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The registry, empty and with counting engines."""
    monkeypatch.setattr(engine_sharing, "StreamEngine", CountingEngine)
    registry: list[Any] = []
    monkeypatch.setattr(engine_sharing, "_engines", registry)
    yield registry
    assert registry == [], "an engine is left"


def config(name: str = "m", **options: Any) -> EngineConfig:
    return EngineConfig(model=name, **options)


def closings(engine: Any) -> int:
    return cast("int", engine.closings)


def test_users_of_one_configuration_share_until_the_last_releases() -> None:
    first, second = EngineUser(), EngineUser()
    engine = shared_engine(config(vllm={"max_model_len": 64}), first)
    assert shared_engine(config(vllm={"max_model_len": 64}), second) is engine
    assert shared_engine(config(vllm={"max_model_len": 64}), first) is engine
    release_engine(first)
    assert closings(engine) == 0
    release_engine(second)
    release_engine(second)
    assert closings(engine) == 1
    assert shared_engine(config(vllm={"max_model_len": 64}), second) is not engine
    release_engine(second)


def test_configurations_are_told_apart() -> None:
    user = EngineUser()
    options: list[dict[str, Any]] = [{}, {"policy": "fcfs"}, {"vllm": {"max_model_len": 64}}]
    engines = [shared_engine(config(**each), user) for each in options]
    assert len({id(engine) for engine in engines}) == 3
    release_engine(user)
    assert [closings(engine) for engine in engines] == [1, 1, 1]


def test_an_engine_whose_users_are_gone_makes_room_for_another() -> None:
    dropped, user = EngineUser(), EngineUser()
    engine = shared_engine(config("m"), dropped)
    del dropped
    gc.collect()
    assert closings(engine) == 0
    assert shared_engine(config("n"), user) is not engine
    assert closings(engine) == 1
    release_engine(user)
