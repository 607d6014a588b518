"""What prefill and KV transfer cost, in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PrefillCost", "SwapCost"]


class PrefillCost(BaseModel):
    """Latency of an engine step, linear in new tokens and in attended pairs of tokens.

    Attributes:
        step_overhead_s: Cost of a step whatever it holds: scheduling, launches.
        token_s: Cost of a new token in the linear layers.
        token_context_s: Cost of a new token in attention, for every token before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step_overhead_s: float = Field(ge=0)
    token_s: float = Field(ge=0)
    token_context_s: float = Field(ge=0)

    def step_s(self, chunks: Iterable[tuple[int, int]]) -> float:
        """Return the duration of one engine step.

        Args:
            chunks: For each request in the step, its new tokens and the tokens computed before.
        """
        seconds = self.step_overhead_s
        for tokens, context in chunks:
            seconds += self._chunk_s(tokens, context)
        return seconds

    def prefill_s(self, tokens: int, context: int = 0, *, chunk_tokens: int) -> float:
        """Return how long a request that is alone on the engine takes to prefill.

        Args:
            tokens: New tokens; none cost nothing.
            context: Tokens computed before.
            chunk_tokens: Most tokens of a step.
        """
        if chunk_tokens < 1:
            msg = f"chunk_tokens must be at least 1, got {chunk_tokens}"
            raise ValueError(msg)
        steps = -(-tokens // chunk_tokens)
        # The attended pairs of consecutive chunks add up to those of one big chunk.
        return steps * self.step_overhead_s + self._chunk_s(tokens, context)

    def _chunk_s(self, tokens: int, context: int) -> float:
        if tokens < 0 or context < 0:
            msg = f"token counts must be at least 0, got {tokens} new and {context} computed"
            raise ValueError(msg)
        return self.token_s * tokens + self.token_context_s * tokens * (context + tokens / 2)


class SwapCost(BaseModel):
    """Latency of copying KV blocks between device and host memory; no block costs nothing.

    Attributes:
        fixed_s: Cost of a copy whatever its size.
        block_out_s: Cost of one block to the host.
        block_in_s: Cost of one block back.
        block_tokens: Tokens of a block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fixed_s: float = Field(ge=0)
    block_out_s: float = Field(ge=0)
    block_in_s: float = Field(ge=0)
    block_tokens: int = Field(ge=1)

    def out_s(self, blocks: float) -> float:
        """Return the seconds to copy blocks to the host."""
        return self._copy_s(blocks, self.block_out_s)

    def in_s(self, blocks: float) -> float:
        """Return the seconds to copy blocks back to the device."""
        return self._copy_s(blocks, self.block_in_s)

    def _copy_s(self, blocks: float, block_s: float) -> float:
        if blocks < 0:
            msg = f"blocks must be at least 0, got {blocks}"
            raise ValueError(msg)
        return self.fixed_s + blocks * block_s if blocks else 0.0
