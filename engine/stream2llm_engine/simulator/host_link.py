"""Copies between device and host memory on the virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream2llm_engine.cost_model import CostModel

__all__ = ["HostLink"]


class HostLink:
    """The link of one simulated engine; both directions at once, one copy at a time in each.

    Args:
        cost: Prices of the hardware.
        block_bytes: Bytes of a KV block.
    """

    def __init__(self, cost: CostModel, block_bytes: int) -> None:
        self._cost = cost
        self._block_bytes = block_bytes
        self._free_s = 0.0
        self._running: list[tuple[float, int]] = []

    def start(self, copies: Any, now_s: float) -> float:
        """Start the copies of a step; return the seconds the step waits for those out."""
        out_s = self._cost.copy_out_s(len(copies.out), self._block_bytes)
        for order in copies.back:
            begins_s = max(self._free_s, now_s + out_s)
            blocks = len(order.host_ids)
            self._free_s = begins_s + self._cost.copy_in_s(blocks, self._block_bytes)
            self._running.append((self._free_s, order.restore_id))
        return out_s

    def next_s(self) -> float | None:
        """Return when the next copy back is complete, or ``None`` if none runs."""
        return self._running[0][0] if self._running else None

    def take_finished(self, now_s: float) -> list[int]:
        """Return the restores that are complete by now."""
        finished = [i for at_s, i in self._running if at_s <= now_s]
        del self._running[: len(finished)]
        return finished
