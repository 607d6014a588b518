"""How large a model's KV cache is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream2llm_engine.config import EngineConfig

__all__ = ["KvShape", "kv_shape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KvShape:
    """The KV cache of one token, over all GPUs.

    Attributes:
        layers: Layers with a cache of their own.
        layer_bytes: Bytes in each of them.
        dtype: Number format of the model.
    """

    layers: int
    layer_bytes: int
    dtype: str

    @property
    def token_bytes(self) -> int:
        """Bytes of a token over all layers."""
        return self.layers * self.layer_bytes


def kv_shape(config: EngineConfig) -> KvShape:
    """Read the shape from the model's configuration; the model is not loaded.

    Args:
        config: What the engine runs.
    """
    from vllm.engine.arg_utils import EngineArgs

    model = EngineArgs(**{**config.vllm, "model": config.model}).create_model_config()
    # A compressed cache holds one vector for keys and values of all heads.
    vectors = 1 if model.use_mla else 2 * model.get_total_num_kv_heads()
    return KvShape(
        layers=model.get_total_num_hidden_layers(),
        layer_bytes=vectors * model.get_head_size() * model.dtype.itemsize,
        dtype=str(model.dtype).removeprefix("torch."),
    )
