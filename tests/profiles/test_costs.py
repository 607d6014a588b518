import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream2llm_profiles import PrefillCost, SwapCost

PREFILL = PrefillCost(step_overhead_s=0.002, token_s=2e-5, token_context_s=5e-10)
SWAP = SwapCost(fixed_s=0.001, block_out_s=2e-5, block_in_s=3e-5, block_tokens=16)


def test_a_step_is_overhead_plus_linear_plus_attention() -> None:
    seconds = PREFILL.step_s([(100, 0), (50, 1000)])
    attended = 100 * 50 + 50 * 1025
    assert seconds == pytest.approx(0.002 + 2e-5 * 150 + 5e-10 * attended)


@given(
    tokens=st.integers(0, 20_000),
    context=st.integers(0, 20_000),
    chunk_tokens=st.integers(64, 4096),
)
def test_a_lone_prefill_is_the_sum_of_its_steps(
    tokens: int, context: int, chunk_tokens: int
) -> None:
    seconds = 0.0
    for start in range(0, tokens, chunk_tokens):
        seconds += PREFILL.step_s([(min(chunk_tokens, tokens - start), context + start)])
    assert PREFILL.prefill_s(tokens, context, chunk_tokens=chunk_tokens) == pytest.approx(seconds)


def test_nothing_to_prefill_takes_no_time() -> None:
    assert PREFILL.prefill_s(0, 5000, chunk_tokens=2048) == 0.0


def test_a_copy_is_a_fixed_part_and_its_blocks() -> None:
    assert SWAP.out_s(10) == pytest.approx(0.0012)
    assert SWAP.in_s(10) == pytest.approx(0.0013)
    assert SWAP.out_s(0) == SWAP.in_s(0) == 0.0


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="got -1 new and 0 computed"):
        PREFILL.step_s([(-1, 0)])
    with pytest.raises(ValueError, match="chunk_tokens must be at least 1"):
        PREFILL.prefill_s(10, chunk_tokens=0)
    with pytest.raises(ValueError, match="blocks must be at least 0"):
        SWAP.out_s(-1)


def test_costs_are_checked_and_frozen() -> None:
    with pytest.raises(ValidationError, match="token_s"):
        PrefillCost(step_overhead_s=0, token_s=-1, token_context_s=0)
    with pytest.raises(ValidationError, match="block_tokens"):
        SwapCost(fixed_s=0, block_out_s=0, block_in_s=0, block_tokens=0)
    with pytest.raises(ValidationError, match="frozen"):
        PREFILL.token_s = 1.0  # type: ignore[misc]
