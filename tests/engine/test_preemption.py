from __future__ import annotations

import math

import pytest

from stream2llm_engine.cost_model import CostModel
from stream2llm_engine.preemption import PreemptionChooser, PreemptionMode
from stream2llm_profiles import load_profile

BLOCK_BYTES = 16 * 131_072


def swaps(profile: str | None, mode: PreemptionMode, *, context: int, tokens: int) -> bool:
    cost = CostModel(load_profile(profile) if profile else None)
    return PreemptionChooser(mode, cost).swaps(
        context=context, tokens=tokens, blocks=-(-tokens // 16), block_bytes=BLOCK_BYTES
    )


@pytest.mark.parametrize("context", [100, 50_000])
def test_pure_modes_ask_no_price(context: int) -> None:
    assert swaps("slow-pcie-llama-3.1-8b", "swap", context=context, tokens=100)
    assert not swaps("h200-tp2-llama-3.1-8b", "recompute", context=context, tokens=100)


def test_a_fast_link_swaps_all_but_small_tails() -> None:
    assert swaps("h200-tp2-llama-3.1-8b", "auto", context=8_000, tokens=2_000)
    # The fixed cost of a copy is that of some twenty tokens.
    assert not swaps("h200-tp2-llama-3.1-8b", "auto", context=16, tokens=16)


def test_on_a_slow_link_the_place_of_the_tail_decides() -> None:
    assert not swaps("slow-pcie-llama-3.1-8b", "auto", context=4_000, tokens=2_000)
    assert swaps("slow-pcie-llama-3.1-8b", "auto", context=100_000, tokens=2_000)


def test_the_price_is_the_victims_not_the_requesters() -> None:
    # Stream2LLM's artifact asks for the incoming request's tokens, whatever the victim holds.
    profile = "slow-pcie-llama-3.1-8b"
    same = {"tokens": 500}
    assert swaps(profile, "auto", context=90_000, **same) != swaps(
        profile, "auto", context=2_000, **same
    )


def test_without_a_profile_a_link_is_assumed() -> None:
    assert swaps(None, "auto", context=8_000, tokens=2_000)


@pytest.mark.parametrize("context", [0, 1_000, 50_000])
def test_only_auto_moves_kv_of_sessions_that_could_keep_it(context: int) -> None:
    cost = CostModel(load_profile("h200-tp2-llama-3.1-8b"))
    shares = {
        mode: PreemptionChooser(mode, cost).moving_share(context=context, token_bytes=131_072)
        for mode in ("auto", "swap", "recompute")
    }
    assert shares["swap"] == shares["recompute"] == math.inf
    assert (shares["auto"] < 0.5) == (context > 0)


def test_moving_costs_less_of_what_is_dear_to_compute() -> None:
    chooser = PreemptionChooser("auto", CostModel(load_profile("slow-pcie-llama-3.1-8b")))
    near, far = (
        chooser.moving_share(context=context, token_bytes=131_072) for context in (2_000, 100_000)
    )
    assert far < near
