"""The size of a KV cache is what vLLM's own configuration says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch

from stream2llm_engine import EngineConfig
from stream2llm_engine.vllm_adapter.kv_shape import KvShape, kv_shape
from tests.support.models import save_random_llama

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_keys_and_values_of_every_head(tmp_path: Path) -> None:
    model = str(save_random_llama(tmp_path))
    shape = kv_shape(EngineConfig(model=model, vllm={"dtype": "float32"}))
    assert shape == KvShape(layers=2, layer_bytes=2 * 2 * 32 * 4, dtype="float32")
    assert shape.token_bytes == 2 * shape.layer_bytes
    half = kv_shape(EngineConfig(model=model, vllm={"dtype": "bfloat16"}))
    assert half.token_bytes == shape.token_bytes / 2


def test_a_compressed_cache_has_one_vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SimpleNamespace(
        use_mla=True,
        dtype=torch.bfloat16,
        get_head_size=lambda: 576,
        get_total_num_kv_heads=lambda: 128,
        get_total_num_hidden_layers=lambda: 61,
    )
    monkeypatch.setattr(
        "vllm.engine.arg_utils.EngineArgs.create_model_config", lambda arguments: model
    )
    assert (
        kv_shape(EngineConfig(model=str(save_random_llama(tmp_path)))).token_bytes == 61 * 576 * 2
    )
