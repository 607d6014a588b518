"""The workers' half of KV swap for the shadow runner.

FAKE, on purpose, like the runner: it moves the shadow "KV" instead of tensors. Copies back land as
late as they may, when they are reported, so that a block that was given away too early is caught.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream2llm_engine.vllm_adapter.swap_connector import SwapReport

if TYPE_CHECKING:
    from stream2llm_engine.vllm_adapter.kv_swap import CopyBack, StepCopies
    from tests.engine.shadow_runner import ShadowRunner

__all__ = ["ShadowSwap"]


@dataclass
class _Running:
    order: CopyBack
    steps_left: int


class ShadowSwap:
    """Copies between the runner's blocks and host blocks.

    Args:
        runner: Whose content is copied.
        block_size: Tokens per block.
    """

    def __init__(self, runner: ShadowRunner, block_size: int) -> None:
        self._content = runner.content
        self._block_size = block_size
        self._host: dict[tuple[int, int], int] = {}
        self._running: list[_Running] = []
        self._unwritten: set[int] = set()
        self._report = SwapReport()
        self.delay = 0
        self.out_fails = False
        self.back_fails = False

    def start(self, copies: StepCopies) -> None:
        """Copy out at once; start the copies back."""
        for device, host in copies.out:
            for offset in range(self._block_size):
                self._host.pop((host, offset), None)
                value = self._content.get((device, offset))
                if value is not None and not self.out_fails:
                    self._host[host, offset] = value
            if self.out_fails:
                self._unwritten.add(host)
                self._report.unwritten.add(host)
            else:
                self._unwritten.discard(host)
        for order in copies.back:
            if self.back_fails or not self._unwritten.isdisjoint(order.host_ids):
                self._report.failed.add(order.restore_id)
            else:
                self._running.append(_Running(order, self.delay))

    def report(self) -> SwapReport:
        """Return what ended with this step."""
        still = []
        for running in self._running:
            running.steps_left -= 1
            if running.steps_left >= 0:
                still.append(running)
                continue
            order = running.order
            for device, host in zip(order.device_ids, order.host_ids, strict=True):
                for offset in range(self._block_size):
                    self._content.pop((device, offset), None)
                    if (host, offset) in self._host:
                        self._content[device, offset] = self._host[host, offset]
            self._report.restored[order.restore_id] += 1
        self._running = still
        report, self._report = self._report, SwapReport()
        return report
