"""Recompute or swap: what happens to the KV of a victim, by price."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from stream2llm_engine.cost_model import CostModel

__all__ = ["PreemptionChooser", "PreemptionMode"]

PreemptionMode = Literal["auto", "recompute", "swap"]

# The size of a tail that moving KV is reckoned at.
_TYPICAL_TOKENS = 1024
# Everybody in the step waits for a copy out, while what is computed again is ranked like any other
# work. A copy back runs beside the steps, so only its own request waits for it.
_COPY_OUT_WEIGHT = 2.0
_COPY_IN_WEIGHT = 1.0


class PreemptionChooser:
    """Decides for each victim whether its tail goes to host memory or is computed again.

    The prices are those of the *victim*: its tokens at their place in its context, against copying
    its blocks out, which the step waits for, and in, which it does not. Stream2LLM's artifact
    prices the tokens of the request that needs the room instead.

    Args:
        mode: ``"recompute"`` and ``"swap"`` decide beforehand.
        cost: Prices of the hardware.
    """

    def __init__(self, mode: PreemptionMode, cost: CostModel) -> None:
        self.mode = mode
        self._cost = cost

    def swaps(self, *, context: int, tokens: int, blocks: int, block_bytes: int) -> bool:
        """Return whether a tail should be copied to host memory.

        Args:
            context: Tokens the victim has computed.
            tokens: How many of them it gives up.
            blocks: The blocks they are in.
            block_bytes: Bytes of one block over all layers and workers.
        """
        if self.mode != "auto":
            return self.mode == "swap"
        cost = self._cost
        copies_s = _COPY_OUT_WEIGHT * cost.copy_out_s(blocks, block_bytes)
        copies_s += _COPY_IN_WEIGHT * cost.copy_in_s(blocks, block_bytes)
        return copies_s < cost.tail_price_s(context, tokens)

    def moving_share(self, *, context: int, token_bytes: float) -> float:
        """Return what moving KV out and in again costs, as a share of computing it again.

        Where that is little, host memory is as good as more KV cache, and open sessions may use it
        as that. Infinite where the mode allows no such use.

        Args:
            context: Tokens the victim has computed.
            token_bytes: Bytes of a token's KV over all layers and workers.
        """
        tokens = min(context, _TYPICAL_TOKENS)
        if self.mode != "auto" or not tokens:
            return inf
        tail_bytes = int(tokens * token_bytes)
        moves_s = self._cost.copy_out_s(1, tail_bytes) + self._cost.copy_in_s(1, tail_bytes)
        return moves_s / self._cost.tail_price_s(context, tokens)
