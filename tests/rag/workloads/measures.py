"""What the tests measure on generated queries."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from stream2llm_engine.simulator import SimulatedQuery
from stream2llm_engine.tokens import common_prefix_length


def percentiles(values: Sequence[float], *points: float) -> list[float]:
    found: list[float] = np.percentile(values, points).tolist()
    return found


def near(*published: float, tolerance: float) -> object:
    return pytest.approx(list(published), rel=tolerance)


def gaps_s(queries: Sequence[SimulatedQuery]) -> list[float]:
    return [event.delay_s for query in queries for event in query.events[1:]]


def durations_s(queries: Sequence[SimulatedQuery]) -> list[float]:
    return [query.final_s - query.arrival_s for query in queries]


def prompt_tokens(queries: Sequence[SimulatedQuery]) -> list[int]:
    return [len(query.final_prompt()) for query in queries]


def prompts(query: SimulatedQuery) -> list[list[int]]:
    """The prompt after each event, without the question."""
    result: list[list[int]] = []
    for event in query.events:
        before = result[-1] if result else []
        result.append(event.token_ids if event.replace else before + event.token_ids)
    return result


def invalidated_share(queries: Sequence[SimulatedQuery]) -> float:
    """Tokens behind the common prefix of an update, as a share of the prompts before."""
    lost = held = 0
    for query in queries:
        steps = prompts(query)
        for before, after in pairwise(steps):
            held += len(before)
            lost += len(before) - common_prefix_length(before, after)
    return lost / held
