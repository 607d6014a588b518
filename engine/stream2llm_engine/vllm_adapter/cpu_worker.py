"""vLLM's CPU worker with seeds that survive prompts of several steps.

In every step vLLM samples a token for every request, also where the prompt goes on behind it; that
token is thrown away, and the request's generator set back by one draw. Generators on CPUs cannot be
set back: vLLM raises there, which ends its core.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from vllm.v1.worker.cpu_worker import CPUWorker

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SeededCPUWorker"]


class SeededCPUWorker(CPUWorker):
    """Draws from a request's own generator only what is kept, so that nothing has to be set back.

    Each token of an answer is then drawn as in one step for the whole prompt, however many steps
    the prompt took and however often it was computed again.
    """

    def sample_tokens(self, grammar_output: Any) -> Any:
        """Sample the tokens of the step that was just executed."""
        if self.use_v2_model_runner:  # which draws by position and sets nothing back
            return super().sample_tokens(grammar_output)
        with _set_aside(self.model_runner):
            return super().sample_tokens(grammar_output)


@contextmanager
def _set_aside(runner: Any) -> Iterator[None]:
    """Hide the generators of requests whose token of this step is thrown away."""
    batch = runner.input_batch
    thrown_away = np.flatnonzero(runner.discard_request_mask.np[: batch.num_reqs]).tolist()
    hidden = {i: batch.generators.pop(i) for i in thrown_away if i in batch.generators}
    try:
        yield
    finally:
        batch.generators.update(hidden)
