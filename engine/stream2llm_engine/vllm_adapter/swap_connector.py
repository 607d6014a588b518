"""The KV connector that carries out swaps: vLLM's door from the scheduler to its workers.

The scheduler's half hands over the copies that the plan of a step decided; the workers' half makes
them before the step computes anything, and reports what came back. It never looks for blocks by
content, so it neither replaces nor disturbs the prefix cache.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)

from stream2llm_engine.vllm_adapter.block_copies import BlockCopier
from stream2llm_engine.vllm_adapter.kv_swap import CopyBack, StepCopies

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from stream2llm_engine.vllm_adapter.block_copies import CopyIn

__all__ = ["SwapConnector", "SwapReport"]

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _SwapOrders(KVConnectorMetadata):
    """What the workers copy in one step."""

    copies: StepCopies
    host_blocks: int


@dataclass(slots=True)
class SwapReport(KVConnectorWorkerMetadata):
    """What the workers did since their last report.

    Attributes:
        restored: By restore, how many workers have copied their share back.
        failed: Restores that some worker could not copy back.
        unwritten: Host blocks that some worker could not fill.
    """

    restored: Counter[int] = field(default_factory=Counter)
    failed: set[int] = field(default_factory=set)
    unwritten: set[int] = field(default_factory=set)

    def aggregate(self, other: KVConnectorWorkerMetadata) -> SwapReport:
        """Add another worker's report to this one."""
        assert isinstance(other, SwapReport)
        return SwapReport(
            self.restored + other.restored,
            self.failed | other.failed,
            self.unwritten | other.unwritten,
        )

    def __bool__(self) -> bool:
        return bool(self.restored or self.failed or self.unwritten)


class SwapConnector(KVConnectorBase_V1, SupportsHMA):
    """Copies between the KV cache and host memory, on order of the scheduler."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._take_copies: Callable[[], StepCopies] = StepCopies
        self._on_report: Callable[[SwapReport], None] | None = None
        self._host_blocks = 0
        self._caches: dict[str, torch.Tensor] = {}
        self._copier: BlockCopier | None = None
        self._running: list[tuple[int, CopyIn]] = []
        self._unwritten: set[int] = set()
        self._report = SwapReport()

    @property
    def requires_kv_delivery(self) -> bool:
        """Nothing is handed on: a lost copy is computed again."""
        return False

    # -- scheduler -------------------------------------------------------------------------------

    def bind_scheduler(
        self,
        *,
        host_blocks: int,
        take_copies: Callable[[], StepCopies],
        on_report: Callable[[SwapReport], None],
    ) -> None:
        """Say where orders come from and reports go."""
        self._host_blocks = host_blocks
        self._take_copies = take_copies
        self._on_report = on_report

    def get_num_new_matched_tokens(
        self, request: Any, num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        """Offer nothing: KV comes back by order, not by content."""
        return 0, False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """Do nothing."""

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        """Return the orders of the step."""
        return _SwapOrders(self._take_copies(), self._host_blocks)

    def update_connector_output(self, connector_output: Any) -> None:
        """Pass the workers' report on."""
        report = connector_output.kv_connector_worker_meta
        if isinstance(report, SwapReport) and self._on_report is not None:
            self._on_report(report)

    def request_finished_all_groups(
        self, request: Any, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        """Let vLLM free the blocks."""
        return False, None

    # -- workers ---------------------------------------------------------------------------------

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        """Take note of the caches."""
        self._caches = kv_caches

    def handle_preemptions(self, kv_connector_metadata: KVConnectorMetadata) -> None:
        """Make the copies out at once and start the copies back."""
        assert isinstance(kv_connector_metadata, _SwapOrders)
        copies = kv_connector_metadata.copies
        if copies and self._copier is None:
            self._copier = BlockCopier(
                self._caches, self._kv_cache_config.num_blocks, kv_connector_metadata.host_blocks
            )
        if copies.out:
            self._copy_out(copies.out)
        for order in copies.back:
            self._start_copy_back(order)

    def _copy_out(self, pairs: list[tuple[int, int]]) -> None:
        assert self._copier is not None
        device_ids, host_ids = map(list, zip(*pairs, strict=True))
        try:
            self._copier.copy_out(device_ids, host_ids)
        except Exception:
            _logger.exception("%d KV blocks could not be copied to host memory", len(host_ids))
            self._unwritten.update(host_ids)
            self._report.unwritten.update(host_ids)
        else:
            self._unwritten.difference_update(host_ids)

    def _start_copy_back(self, order: CopyBack) -> None:
        assert self._copier is not None
        if not self._unwritten.isdisjoint(order.host_ids):
            # Ordered before the scheduler could know.
            self._report.failed.add(order.restore_id)
            return
        try:
            copy = self._copier.start_copy_in(order.host_ids, order.device_ids)
        except Exception:
            _logger.exception("%d KV blocks could not be copied back", len(order.host_ids))
            self._report.failed.add(order.restore_id)
        else:
            self._running.append((order.restore_id, copy))

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """Do nothing: copies were started before the step."""

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Do nothing: no layer of this step waits for a copy."""

    def save_kv_layer(
        self, layer_name: str, kv_layer: torch.Tensor, attn_metadata: Any, **kwargs: Any
    ) -> None:
        """Do nothing: KV is copied when it is evicted, not when it is made."""

    def wait_for_save(self) -> None:
        """Do nothing."""

    def build_connector_worker_meta(self) -> KVConnectorWorkerMetadata | None:
        """Return what is new since the last call."""
        running = []
        for restore_id, copy in self._running:
            try:
                if copy.done():
                    self._report.restored[restore_id] += 1
                else:
                    running.append((restore_id, copy))
            except Exception:
                _logger.exception("a copy back to the KV cache failed")
                self._report.failed.add(restore_id)
        self._running = running
        report, self._report = self._report, SwapReport()
        return report or None

    def shutdown(self) -> None:
        """Free the host memory."""
        if self._copier is not None:
            self._copier.close()
            self._copier = None
