"""What steps did and how long they took: the engine's counters, and the prices that it learns."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from stream2llm_engine.outputs import EngineStats
from stream2llm_engine.vllm_adapter.swapping import SwappingMixin

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput

__all__ = ["CountingMixin"]


class CountingMixin(SwappingMixin):
    """Counts tokens and evictions, and learns from the times of steps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tokens = dict.fromkeys(("computed", "reused", "recomputed"), 0)
        self._evictions = {"recompute": 0, "swap": 0, "builtin": 0}
        self._idle_evictions = 0
        self._evicted_blocks = 0
        self._steps = 0
        self.last_step_tokens = 0
        # When the steps in flight began, and how many tokens theirs attend to in all.
        self._in_flight: deque[tuple[float, float]] = deque()
        self._last_results_s = 0.0

    def stream_stats(self) -> EngineStats:
        """Return a snapshot; call it between two steps only."""
        return EngineStats(
            free_blocks=self._kv.free_blocks,
            total_blocks=self._kv.total_blocks,
            block_size=self._kv.block_size,
            open_sessions=sum(not s.finalized for s in self._sessions.values()),
            parked=len(self._parked),
            running=len(self.running),
            waiting=self.get_request_counts()[1],
            tokens={**self._tokens, "invalidated": self._invalidated_tokens},
            preemptions=dict(self._evictions),
            idle_preemptions=self._idle_evictions,
            evicted_blocks=self._evicted_blocks,
            steps=self._steps,
            tenants=self._tenant_stats(),
        )

    def _note_start(self, output: SchedulerOutput, now_s: float) -> None:
        """Take note of a step that computes something."""
        attended = 0.0
        if self._cost.learns:
            requests = self.requests
            attended = sum(
                tokens * (requests[request_id].num_computed_tokens - 0.5 * tokens)
                for request_id, tokens in output.num_scheduled_tokens.items()
            )
        self._steps += 1
        self._in_flight.append((now_s, attended))

    def _note_end(self, tokens: int, now_s: float) -> None:
        """Learn the price of tokens; where steps overlap, each counts from the one before."""
        if self._in_flight:
            started_s, attended = self._in_flight.popleft()
            self._cost.observe(tokens, now_s - max(started_s, self._last_results_s), attended)
        self._last_results_s = now_s
