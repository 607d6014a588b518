"""What the engine refuses to run, and what it asks vLLM for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from stream2llm_engine import EngineConfig, UnsupportedFeatureError
from stream2llm_engine.vllm_adapter.build import _engine_args, refuse_unsupported

if TYPE_CHECKING:
    from pathlib import Path

SUPPORTED: dict[str, Any] = {
    "model": "m",
    "is_encoder_decoder": False,
    "runner_type": "generate",
    "is_multimodal_model": False,
}


@pytest.mark.parametrize(
    ("change", "mamba", "what"),
    [
        ({}, True, "Mamba"),
        ({"is_encoder_decoder": True}, False, "encoder-decoder"),
        ({"runner_type": "pooling"}, False, "pooling"),
        ({"is_multimodal_model": True}, False, "multimodal"),
    ],
)
def test_models_that_cannot_stream(change: dict[str, Any], what: str, *, mamba: bool) -> None:
    model_config = SimpleNamespace(**{**SUPPORTED, **change})
    with pytest.raises(UnsupportedFeatureError, match=what):
        refuse_unsupported(model_config, has_mamba_layers=mamba)


def test_other_models_are_fine() -> None:
    refuse_unsupported(SimpleNamespace(**SUPPORTED), has_mamba_layers=False)


def test_the_cpu_default_leaves_memory_to_the_application(tiny_llama: Path) -> None:
    arguments = _engine_args(EngineConfig(model=str(tiny_llama)), "secret")
    assert 0 < arguments.kv_cache_memory_bytes <= 4 * 2**30
    assert arguments.block_size == 32


@pytest.mark.parametrize("argument", [{"kv_cache_memory_bytes": 2**20}, {"block_size": 64}])
def test_the_users_arguments_win(tiny_llama: Path, argument: dict[str, int]) -> None:
    arguments = _engine_args(EngineConfig(model=str(tiny_llama), vllm=argument), "secret")
    ((name, value),) = argument.items()
    assert getattr(arguments, name) == value
