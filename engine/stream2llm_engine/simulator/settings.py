"""What a simulated engine is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream2llm_engine.preemption import PreemptionMode
    from stream2llm_profiles import HardwareProfile

__all__ = ["BASELINES", "SimulationSettings"]

BASELINES = ("blocking", "stock")
"""Policies that are none of ours: no streaming at all, and vLLM's own order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSettings:
    """One engine under one policy.

    Attributes:
        profile: Prices of the hardware; also the size of the KV pool unless ``pool_tokens`` is set.
        policy: A policy's name or import path, or one of :data:`BASELINES`.
        preemption: What happens to the KV of a victim.
        swap_space_gib: Host memory for evicted KV, in GiB.
        token_budget: Tokens a step may compute (``max_num_batched_tokens``).
        block_size: Tokens per KV block.
        pool_tokens: Tokens that the KV pool holds.
        prefix_caching: Whether vLLM's prefix cache is on.
        max_requests: ``max_num_seqs``.
        max_model_len: Longest sequence in tokens.
        tenant_weights: Share of each tenant relative to the others; 1 for those not listed.
        fair_share: Whether tenants take turns.
    """

    profile: HardwareProfile
    policy: str = "srpt"
    preemption: PreemptionMode = "recompute"
    swap_space_gib: float = 64.0
    token_budget: int = 2048
    block_size: int = 16
    pool_tokens: int | None = None
    prefix_caching: bool = False
    max_requests: int = 1024
    max_model_len: int = 131_072
    tenant_weights: dict[str, float] = field(default_factory=dict)
    fair_share: bool = True

    @property
    def block_bytes(self) -> int:
        """Bytes of one KV block."""
        return self.profile.kv_bytes_per_token * self.block_size

    @property
    def host_blocks(self) -> int:
        """KV blocks that host memory may hold."""
        return int(self.swap_space_gib * 2**30) // self.block_bytes

    @property
    def pool_blocks(self) -> int:
        """KV blocks of the pool."""
        return (self.pool_tokens or self.profile.kv_pool_tokens) // self.block_size
