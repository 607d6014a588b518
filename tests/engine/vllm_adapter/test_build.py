"""What the engine refuses to run, and what it asks vLLM for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from vllm.config import KVTransferConfig
from vllm.platforms import current_platform

from stream2llm_engine import EngineConfig, EngineConfigError, UnsupportedFeatureError
from stream2llm_engine.vllm_adapter.build import _engine_args, refuse_unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from stream2llm_engine.preemption import PreemptionMode

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


@pytest.mark.parametrize(
    "argument", [{"kv_cache_memory_bytes": 2**20}, {"block_size": 64}, {"worker_cls": "a.Worker"}]
)
def test_the_users_arguments_win(tiny_llama: Path, argument: dict[str, Any]) -> None:
    arguments = _engine_args(EngineConfig(model=str(tiny_llama), vllm=argument), "secret")
    ((name, value),) = argument.items()
    assert getattr(arguments, name) == value


@pytest.mark.parametrize(
    ("preemption", "space", "swaps"),
    [("auto", 1.0, True), ("swap", 1.0, True), ("swap", 0.0, False), ("recompute", 1.0, False)],
)
def test_swap_takes_the_connector_slot(
    tiny_llama: Path, preemption: PreemptionMode, space: float, *, swaps: bool
) -> None:
    config = EngineConfig(model=str(tiny_llama), preemption=preemption, swap_space_gib=space)
    connector = _engine_args(config, "secret").kv_transfer_config
    assert (connector is not None and connector.kv_connector == "SwapConnector") == swaps


@pytest.mark.parametrize(("device", "swaps"), [("cpu", True), ("cuda", True), ("rocm", False)])
def test_by_price_swaps_where_copies_were_run(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, device: str, *, swaps: bool
) -> None:
    for kind in ("cpu", "cuda"):
        monkeypatch.setattr(type(current_platform), f"is_{kind}", lambda _, k=kind: k == device)
    arguments = _engine_args(EngineConfig(model=str(tiny_llama)), "secret")
    assert (arguments.kv_transfer_config is not None) == swaps


def test_another_connector_and_swap_exclude_each_other(tiny_llama: Path) -> None:
    theirs = KVTransferConfig(kv_connector="ExampleConnector", kv_role="kv_both")
    options = {"kv_transfer_config": theirs}
    auto = EngineConfig(model=str(tiny_llama), vllm=options)
    assert _engine_args(auto, "secret").kv_transfer_config == theirs
    with pytest.raises(EngineConfigError, match="leave one of them out"):
        _engine_args(EngineConfig(model=str(tiny_llama), preemption="swap", vllm=options), "secret")
