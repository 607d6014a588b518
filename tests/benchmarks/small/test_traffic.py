from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream2llm_bench.small.traffic import TrafficSettings, measure

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = TrafficSettings(
    repeats=2,
    requests=4,
    concurrency=2,
    prompt_tokens=(8, 40),
    output_tokens=6,
    vllm={
        "dtype": "bfloat16",
        "enforce_eager": True,
        "max_model_len": 128,
        "max_num_batched_tokens": 64,
        "block_size": 32,
        "kv_cache_memory_bytes": 16 * 2**20,
    },
)


def test_prompts_depend_on_the_repetition_alone() -> None:
    prompts = SETTINGS.prompts(1)
    assert prompts == SETTINGS.prompts(1)
    assert prompts != SETTINGS.prompts(2)
    assert len(prompts) == 4
    assert all(8 <= len(prompt) <= 40 for prompt in prompts)
    assert len({tuple(prompt[:8]) for prompt in prompts}) == 4


@pytest.mark.engine
def test_both_systems_answer_the_same_requests_in_turn(tiny_llama: Path) -> None:
    results = measure(tiny_llama, quick=True, on_progress=lambda _: None, settings=SETTINGS)

    order = [(result.system, result.repeat) for result in results]
    assert order == [("stock", 0), ("stream2llm", 0), ("stream2llm", 1), ("stock", 1)]
    for result in results:
        assert result.concurrency == 2
        assert result.throughput_tokens_s > 0
        # Four answers of six tokens have five gaps each.
        assert len(result.samples) == 4 * 5
        assert min(result.samples) >= 0
        assert result.inter_token_s.p50 is not None
