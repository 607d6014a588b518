"""What the scheduler tells the cost model of its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream2llm_profiles import load_profile
from tests.engine.harness import SchedulerHarness
from tests.engine.vllm_adapter.test_scheduler import tokens

if TYPE_CHECKING:
    import pytest

    from stream2llm_profiles import HardwareProfile


def observed(
    monkeypatch: pytest.MonkeyPatch, profile: HardwareProfile | None
) -> list[tuple[int, float]]:
    """Tokens, and the tokens they attend to, of every step of a prompt of 100 tokens."""
    harness = SchedulerHarness(blocks=32, token_budget=64, profile=profile)
    steps: list[tuple[int, float]] = []
    monkeypatch.setattr(
        harness.scheduler._cost, "observe", lambda count, _, work: steps.append((count, work))
    )
    harness.ordinary("prompt", tokens(100), max_tokens=1)
    harness.run()
    return steps


def test_steps_tell_what_their_tokens_attend_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert observed(monkeypatch, None) == [(64, 64 * 32.0), (36, 36 * (64 + 18.0))]


def test_nothing_is_summed_where_prices_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile("h200-tp2-llama-3.1-8b")
    assert observed(monkeypatch, profile) == [(64, 0.0), (36, 0.0)]
