"""One real engine per test module, on a KV pool that is too small on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream2llm_engine import EngineConfig, StreamEngine
from tests.support.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream2llm_engine.preemption import PreemptionMode

MAX_MODEL_LEN = 1024
# 2 layers, keys and values, 2 KV heads of 32 float32.
BLOCK_BYTES = 32 * 2 * 2 * 2 * 32 * 4


def small_engine_config(
    model: Path,
    *,
    blocks: int = 36,
    policy: str = "srpt",
    preemption: PreemptionMode = "auto",
    host_blocks: int = 36,
) -> EngineConfig:
    """Return a float32 engine with ``blocks`` KV blocks of 32 tokens."""
    return EngineConfig(
        model=str(model),
        policy=policy,
        preemption=preemption,
        swap_space_gib=host_blocks * BLOCK_BYTES / 2**30,
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "block_size": 32,
            "max_model_len": MAX_MODEL_LEN,
            "max_num_batched_tokens": 256,
            "max_num_seqs": 16,
            "kv_cache_memory_bytes": blocks * BLOCK_BYTES,
        },
    )


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Iterator[StreamEngine]:
    """A started engine: 36 blocks of 32 tokens, 256 tokens a step."""
    engine = StreamEngine(small_engine_config(tiny_llama))
    engine.run(engine.start())
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def integrity(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check the engine's invariants after every test that uses it."""
    yield
    if "engine" in request.fixturenames:
        engine: StreamEngine = request.getfixturevalue("engine")
        engine.run(engine.check_integrity())
        stats = engine.run(engine.stats())
        assert stats.open_sessions == 0, "the test left a session open"
        assert stats.free_blocks == stats.total_blocks
        assert stats.preemptions["builtin"] == 0


@pytest.fixture(scope="module")
def reference(tiny_llama: Path) -> Iterator[Reference]:
    """Stock vLLM on the same model, in another process."""
    with Reference(tiny_llama, MAX_MODEL_LEN) as reference:
        yield reference
