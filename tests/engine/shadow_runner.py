"""A model runner without a model: it checks every KV read and "computes" exactly.

FAKE, on purpose: it stands in for vLLM's V1 model runner, so that the real scheduler and the real
KV cache manager can be driven thousands of steps a second. The "KV" of a position is the hash of
the whole prefix up to it, as attention makes it; reading a block whose content is not that of the
request's own prefix is recorded as a violation. The next token is a function of the prefix, so an
answer computed from wrong KV, or from a prompt that was not final, is a wrong answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vllm.v1.outputs import ModelRunnerOutput

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput

__all__ = ["ShadowRunner", "next_token", "prefix_hashes"]

VOCABULARY = 1000


def prefix_hashes(tokens: list[int]) -> list[int]:
    """Return the hash of every prefix, ``[hash(tokens[:1]), hash(tokens[:2]), …]``."""
    hashes = []
    value = 17
    for token in tokens:
        value = hash((value, token))
        hashes.append(value)
    return hashes


def next_token(tokens: list[int]) -> int:
    """Return the token the "model" continues with."""
    return prefix_hashes(tokens)[-1] % VOCABULARY


@dataclass
class _Known:
    prompt: list[int]
    blocks: list[int]
    computed: int
    output: list[int] = field(default_factory=list)


class ShadowRunner:
    """Executes scheduler outputs the way vLLM's model runners keep their state.

    Args:
        block_size: Tokens per KV block.
        slots: Request slots of a V2 runner, which keeps requests that sit a step out; ``None`` for
            a V1 runner, which does not.
    """

    def __init__(self, block_size: int, *, slots: int | None = None) -> None:
        self.block_size = block_size
        self.slots = slots
        self.known: dict[str, _Known] = {}
        self.content: dict[tuple[int, int], int] = {}
        self.violations: list[str] = []
        self.sampled: list[str] = []

    def execute(self, step: SchedulerOutput) -> ModelRunnerOutput:
        """Run one step and return what it sampled."""
        forgotten = set(step.finished_req_ids)
        if self.slots is not None:
            # The V2 runner keeps a request in its slot until it is told otherwise.
            forgotten |= step.preempted_req_ids or set()
        for request_id in forgotten:
            self.known.pop(request_id, None)
        for new in step.scheduled_new_reqs:
            prompt = list(new.prompt_token_ids)
            everything = list(new.prefill_token_ids or prompt)
            self.known[new.req_id] = _Known(
                prompt,
                list(new.block_ids[0]),
                new.num_computed_tokens,
                everything[len(prompt) :],
            )
        if self.slots is not None and len(self.known) > self.slots:
            self.violations.append(f"{len(self.known)} requests in {self.slots} slots")
        self._continue(step.scheduled_cached_reqs)
        ids = list(step.num_scheduled_tokens)
        sampled = [self._compute(i, step.num_scheduled_tokens[i]) for i in ids]
        return ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={request_id: index for index, request_id in enumerate(ids)},
            sampled_token_ids=sampled,
            logprobs=None,
            prompt_logprobs_dict={},
            pooler_output=[],
        )

    def _continue(self, cached: Any) -> None:
        for index, request_id in enumerate(cached.req_ids):
            state = self.known.get(request_id)
            if state is None:
                self.violations.append(f"{request_id} continues but the runner does not know it")
                continue
            state.computed = cached.num_computed_tokens[index]
            new_blocks = cached.new_block_ids[index]
            if request_id in cached.resumed_req_ids:
                state.blocks = list(new_blocks[0])
            elif new_blocks is not None:
                state.blocks.extend(new_blocks[0])

    def _compute(self, request_id: str, count: int) -> list[int]:
        state = self.known[request_id]
        tokens = state.prompt + state.output
        hashes = prefix_hashes(tokens)
        end = state.computed + count
        if end > len(tokens):
            self.violations.append(f"{request_id}: {end} tokens scheduled of {len(tokens)} known")
            return []
        for position in range(state.computed):
            if self.content.get(self._slot(state, position)) != hashes[position]:
                self.violations.append(f"{request_id} reads wrong KV at token {position}")
                break
        for position in range(state.computed, end):
            self.content[self._slot(state, position)] = hashes[position]
        state.computed = end
        if end < len(tokens):
            return []
        self.sampled.append(request_id)
        token = hashes[-1] % VOCABULARY
        state.output.append(token)
        return [token]

    def _slot(self, state: _Known, position: int) -> tuple[int, int]:
        index = position // self.block_size
        if index >= len(state.blocks):
            return (-1, position)
        return (state.blocks[index], position % self.block_size)
