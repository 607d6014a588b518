"""KV cache tensors of any supported layout as matrices of bytes, a row for each block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from stream2llm_engine.errors import UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["block_matrices"]

_KEYS_AND_VALUES = 2


def block_matrices(caches: Mapping[str, torch.Tensor], num_blocks: int) -> list[torch.Tensor]:
    """Return views of the caches in which row *i* holds the bytes of block *i*.

    Layers that share their memory give one matrix. A cache with keys and values in front of the
    blocks gives two.

    Args:
        caches: KV cache of each layer.
        num_blocks: Blocks of the pool.

    Raises:
        UnsupportedFeatureError: A cache has another layout.
    """
    matrices: dict[int, torch.Tensor] = {}
    for name, cache in caches.items():
        for part in _parts(name, cache, num_blocks):
            matrix = _matrix(name, part)
            known = matrices.setdefault(matrix.data_ptr(), matrix)
            if known.shape != matrix.shape or known.stride() != matrix.stride():
                raise _refusal(name, "it shares memory with a layer of another shape")
    if len({matrix.device for matrix in matrices.values()}) > 1:
        raise _refusal(next(iter(caches)), "the layers are on several devices")
    return list(matrices.values())


def _parts(name: str, cache: torch.Tensor, num_blocks: int) -> Iterator[torch.Tensor]:
    """Yield tensors that have the blocks first."""
    if not isinstance(cache, torch.Tensor) or cache.numel() == 0:
        raise _refusal(name, "it is not a tensor with content")
    shape = tuple(cache.shape)
    blocks_first = shape[0] == num_blocks
    blocks_second = shape[:2] == (_KEYS_AND_VALUES, num_blocks)
    if blocks_first and not blocks_second:
        yield cache
    elif blocks_second and not blocks_first:
        yield from cache.unbind(0)
    else:
        why = f"its shape {shape} does not say which dimension counts the {num_blocks} blocks"
        raise _refusal(name, why)


def _matrix(name: str, cache: torch.Tensor) -> torch.Tensor:
    elements = 1
    # In memory order, which need not be that of the dimensions.
    inner = zip(cache.stride()[1:], cache.shape[1:], strict=True)
    for stride, size in sorted(pair for pair in inner if pair[1] > 1):
        if stride != elements:
            raise _refusal(name, "its blocks have gaps")
        elements *= size
    if cache.stride(0) < elements:
        raise _refusal(name, "its blocks overlap")
    rows = cache.as_strided((cache.shape[0], elements), (cache.stride(0), 1))
    return rows.view(torch.uint8)


def _refusal(name: str, why: str) -> UnsupportedFeatureError:
    msg = (
        f"the KV cache of layer {name!r} cannot be copied block by block: {why}; "
        'use EngineConfig(preemption="recompute") with this model'
    )
    return UnsupportedFeatureError(msg)
