from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream2llm_bench.small.idle_sessions import fit_memory
from stream2llm_bench.small.micro import MicroSettings, measure

if TYPE_CHECKING:
    from pathlib import Path

    from stream2llm_bench.results import MicroResult

SETTINGS = MicroSettings(
    planned_events=6,
    bursts=2,
    burst_events=5,
    memory_rounds=2,
    memory_warm_up=5,
    memory_sessions=20,
    idle_counts=(0, 30),
    active_repeats=3,
)


def test_the_line_through_two_measurements() -> None:
    fit = fit_memory((200, 10_000 + 200 * 8), (2_000, 10_000 + 2_000 * 8))
    assert fit.session_bytes == pytest.approx(10_000)
    assert fit.token_bytes == pytest.approx(8)


def test_a_session_without_cost_of_its_own_has_only_a_slope() -> None:
    fit = fit_memory((100, 100.0), (300, 300.0))
    assert fit.session_bytes == pytest.approx(0)
    assert fit.token_bytes == pytest.approx(1)


def test_the_pool_holds_every_idle_session_with_a_block_of_its_own() -> None:
    settings = MicroSettings.usual(quick=False)
    assert settings.pool_blocks > max(settings.idle_counts)
    assert settings.pool_blocks > 2 * settings.memory_rounds * settings.memory_sessions
    for tokens in settings.idle_tokens:
        own = tokens - (tokens - settings.own_tokens) // 32 * 32
        assert 0 < own <= 32


@pytest.mark.engine
def test_everything_is_measured_on_the_real_engine(tiny_llama: Path) -> None:
    steps: list[str] = []
    results = measure(tiny_llama, quick=True, on_progress=steps.append, settings=SETTINGS)

    by_name: dict[str, list[MicroResult]] = {}
    for result in results:
        by_name.setdefault(result.name, []).append(result)
    assert len(steps) == 4

    (delay,) = by_name["event_to_prefill_s"]
    assert len(delay.samples) == 6
    assert all(0 < sample < 1 for sample in delay.samples)

    (cost,), (accept,) = by_name["event_cost_s"], by_name["event_accept_s"]
    assert len(cost.samples) == 2
    assert len(accept.samples) == 10
    assert 0 < accept.median < cost.median
    assert cost.parameters == {"events": 5, "tokens": 8}

    (session,), (token,) = by_name["idle_session_bytes"], by_name["idle_token_bytes"]
    assert len(session.samples) == len(token.samples) == 2
    assert session.unit == token.unit == "bytes"

    alone, beside = by_name["active_step_s"]
    assert [alone.parameters["idle_sessions"], beside.parameters["idle_sessions"]] == [0, 30]
    assert len(alone.samples) == len(beside.samples) == 3
    assert min(alone.samples + beside.samples) > delay.median
