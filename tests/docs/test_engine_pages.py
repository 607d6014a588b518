"""The pages under docs/ whose code needs an engine: all of them on one, with the shipped reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream2llm_engine import EngineConfig, StreamEngine
from stream2llm_rag import reader_model
from tests.docs.pages import programs, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def engine() -> Iterator[StreamEngine]:
    engine = StreamEngine(
        EngineConfig(
            model=str(reader_model()),
            vllm={"enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20},
        )
    )
    yield engine
    engine.run(engine.check_integrity())
    engine.close()


@pytest.mark.parametrize("page", programs(engine=True))
def test_a_page_runs(
    page: str, engine: StreamEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(page, engine)
