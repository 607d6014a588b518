"""A tenant that floods the engine, and what the others notice of it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from stream2llm_engine.simulator import (
    PromptEvent,
    SimulatedQuery,
    SimulationOutcome,
    SimulationSettings,
    simulate,
)
from stream2llm_profiles import load_profile

PROFILE = load_profile("h200-tp2-llama-3.1-8b")
SETTINGS = SimulationSettings(profile=PROFILE, token_budget=2048)
SECONDS = 40.0
MEAN_TOKENS = 3000
CAPACITY_QPS = 1.0 / PROFILE.prefill.prefill_s(MEAN_TOKENS, 0, chunk_tokens=2048)
SHARE_QPS = 0.8 * CAPACITY_QPS / 10


def queries(tenant: str, qps: float) -> list[SimulatedQuery]:
    dice = random.Random(tenant)
    start_s, arrivals = dice.expovariate(qps), []
    while start_s < SECONDS:
        arrivals.append(start_s)
        start_s += dice.expovariate(qps)
    first_token = dice.randrange(10**6)
    return [
        SimulatedQuery(
            query_id=f"{tenant}-{number}",
            arrival_s=arrival_s,
            events=[
                PromptEvent(
                    delay_s=dice.uniform(0.2, 1.0),
                    token_ids=[first_token + number] * dice.randrange(1, MEAN_TOKENS * 2 // 3),
                )
                for _ in range(3)
            ],
            tenant=tenant,
        )
        for number, arrival_s in enumerate(arrivals)
    ]


def test_who_keeps_to_its_share_hardly_notices_a_flood() -> None:
    nine = [query for number in range(9) for query in queries(f"t{number}", SHARE_QPS)]
    flooded = nine + queries("flooder", 10 * SHARE_QPS)
    # Until then the flooder uses up what a tenant may be ahead of its share.
    asked = {query.query_id for query in nine if query.arrival_s > SECONDS / 2}

    def p99(outcome: SimulationOutcome) -> float:
        return float(np.percentile([outcome.ttft_from_final_s[i] for i in asked], 99))

    alone_s = p99(simulate(nine, SETTINGS))
    assert p99(simulate(flooded, SETTINGS)) < 1.5 * alone_s
    assert p99(simulate(flooded, replace(SETTINGS, fair_share=False))) > 10 * alone_s


def test_weights_say_who_waits() -> None:
    workload = queries("a", CAPACITY_QPS) + queries("b", CAPACITY_QPS)
    weighted = simulate(workload, replace(SETTINGS, tenant_weights={"a": 4.0}))
    medians = {
        tenant: np.median(
            [s for i, s in weighted.ttft_from_final_s.items() if weighted.tenants[i] == tenant]
        )
        for tenant in "ab"
    }
    assert 3 * medians["a"] < medians["b"]
