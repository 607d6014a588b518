"""The traffic that is played, by default scaled to a machine with few cores.

There tokens are a twelfth of the published traces', and so is a step, which keeps a chunk several
times the overhead of a step, as it is with a large model on a GPU. Retrieval takes its published
time: about forty times the prefill of its prompt on two cores. With Llama-3.1-8B on two H200 that
is sixty, so streaming has less time to hide in here. Everything else is as in
:mod:`stream2llm_rag.workloads`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from stream2llm_bench.results import TOKEN_SCALE, Scenario
from stream2llm_rag.workloads import AnnsWorkload, CrawlerWorkload, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream2llm_engine.simulator import SimulatedQuery

__all__ = [
    "BLOCK_SIZE",
    "MAX_MODEL_LEN",
    "TOKEN_BUDGET",
    "Plan",
    "Traffic",
    "all_at_once",
    "draft_scenario",
    "full_plan",
    "in_vocabulary",
    "pool_tokens",
    "queries_of",
    "quick_plan",
    "resident_tokens",
]

BLOCK_SIZE = 32
MAX_MODEL_LEN = 6144
TOKEN_BUDGET = 192
# Of the published prompts; a pool for a fifth of the working set still has to hold the longest.
_PRESSURE_CAP_TOKENS = 24_576
_POOL_TOKENS = 262_144
_HIGH, _LOW = 0.78, 0.2
# Blocking and ours stand first.
_COMPARED = 2
_QUICK = ("crawler-high", "anns-high", "crawler-pressure")

WorkloadName = Literal["crawler", "anns"]
Order = Literal["stable", "rank"]


class Traffic(NamedTuple):
    """What is played in a scenario, before the rate of arrivals is known.

    Attributes:
        name: Name of the scenario.
        workload: What is retrieved.
        load: Share of blocking's capacity that arrives.
        queries: Queries of a trace.
        systems: Who gets it, with the order of documents: baselines and policies.
        output_tokens: Tokens of every answer.
        pool_share: The pool as a share of the working set; ``None``: ample.
        once: Those of the systems that get only the first seed.
        more_seeds: Seeds beyond the plan's, for the first two systems: the longest waits differ
            most from trace to trace.
        capacity_of: The scenario whose prompts tell the capacity; empty: this one's.
        token_scale: Prompt tokens as a share of the published ones.
    """

    name: str
    workload: WorkloadName
    load: float
    queries: int
    systems: tuple[tuple[str, Order | None], ...]
    output_tokens: int = 1
    pool_share: float | None = None
    once: tuple[tuple[str, Order | None], ...] = ()
    more_seeds: tuple[int, ...] = ()
    capacity_of: str = ""
    token_scale: float = TOKEN_SCALE


class Plan(NamedTuple):
    """Everything that one call measures.

    Attributes:
        traffic: The scenarios.
        seeds: Seeds of the traces.
        bound_stride: Every how many queries the idle machine is asked for; low load: all.
    """

    traffic: tuple[Traffic, ...]
    seeds: tuple[int, ...]
    bound_stride: int

    def stride_of(self, traffic: Traffic) -> int:
        """Return every how many queries of a scenario the idle machine is asked for."""
        return 1 if traffic.load <= _LOW else self.bound_stride

    def seeds_of(self, traffic: Traffic) -> tuple[int, ...]:
        """Return the seeds of a scenario."""
        return (*self.seeds, *traffic.more_seeds)

    def traces_of(self, traffic: Traffic) -> list[tuple[str, Order | None, int]]:
        """Return who plays what in a scenario: system, order of documents, seed."""
        first = self.seeds[:1]
        return [
            (*one, seed)
            for number, one in enumerate(traffic.systems)
            for seed in (self.seeds_of(traffic) if number < _COMPARED else self.seeds)
            if seed in first or one not in traffic.once
        ]


def _plain(*systems: str) -> tuple[tuple[str, None], ...]:
    return tuple((system, None) for system in systems)


# Who is compared with whom plays right after it, before the machine's speed changes much.
_FULL = (
    Traffic(
        "crawler-high",
        "crawler",
        _HIGH,
        70,
        _plain("blocking", "srpt", "warmup", "streaming_input", "fcfs", "lcas", "mcps"),
        once=_plain("streaming_input", "fcfs", "lcas", "mcps"),
        more_seeds=(3,),
    ),
    Traffic(
        "crawler-low",
        "crawler",
        _LOW,
        24,
        _plain("blocking", "srpt"),
        once=_plain("blocking"),
        capacity_of="crawler-high",
    ),
    Traffic(
        "crawler-decode",
        "crawler",
        _HIGH,
        40,
        _plain("blocking", "srpt"),
        output_tokens=64,
    ),
    Traffic(
        "anns-high",
        "anns",
        _HIGH,
        40,
        (
            ("blocking", "stable"),
            ("srpt", "stable"),
            ("warmup", "stable"),
            ("srpt", "rank"),
        ),
        once=(("warmup", "stable"), ("srpt", "rank")),
    ),
    Traffic(
        "crawler-pressure",
        "crawler",
        _HIGH,
        50,
        _plain("blocking", "srpt", "warmup", "streaming_input"),
        pool_share=0.2,
        once=_plain("streaming_input"),
        more_seeds=(3,),
    ),
)


def full_plan() -> Plan:
    """Return what a full run measures."""
    return Plan(_FULL, seeds=(0, 1, 2), bound_stride=4)


def quick_plan() -> Plan:
    """Return the short form: one seed, short traces, what most targets compare.

    Every trace takes as long as a crawl, so there is no time for more of them.
    """
    wanted = {("blocking", None), ("srpt", None), ("blocking", "stable"), ("srpt", "stable")}
    traffic = tuple(
        one._replace(
            queries=12,
            more_seeds=(),
            systems=tuple(
                system
                for system in one.systems
                if system in wanted or (one.name == "crawler-high" and system[0] == "warmup")
            ),
        )
        for one in _FULL
        if one.name in _QUICK
    )
    return Plan(traffic, seeds=(0,), bound_stride=4)


def draft_scenario(traffic: Traffic, qps: float) -> Scenario:
    """Return the traffic at a rate; the pool, which follows from both, is still to be set."""
    return Scenario(
        name=traffic.name,
        workload=traffic.workload,
        load=traffic.load,
        qps=qps,
        pool_tokens=0,
        pool_share=traffic.pool_share,
        output_tokens=traffic.output_tokens,
        queries=traffic.queries,
        token_scale=traffic.token_scale,
    )


def queries_of(
    scenario: Scenario, seed: int, order: Order | None, vocabulary: int
) -> list[SimulatedQuery]:
    """Return the trace of a scenario in token ids of the model.

    Args:
        scenario: What to play.
        seed: Seed of the trace.
        order: Order of documents in the prompt; the same lists are ranked either way.
        vocabulary: Size of the model's vocabulary.
    """
    workload = _workload(scenario, order)
    return [in_vocabulary(query, vocabulary) for query in workload.generate(seed=seed)]


def all_at_once(queries: Sequence[SimulatedQuery]) -> list[SimulatedQuery]:
    """Return the same queries, all of them final at the start."""
    return [
        replace(
            query, arrival_s=0.0, events=[replace(event, delay_s=0.0) for event in query.events]
        )
        for query in queries
    ]


def pool_tokens(scenario: Scenario) -> int:
    """Return the tokens of the KV pool.

    It is ample, or holds a share of what all open sessions hold on average, and then the longest
    prompt at least.
    """
    if scenario.pool_share is None:
        return _POOL_TOKENS
    queries = _workload(scenario, None).generate(seed=0)
    longest = round(_PRESSURE_CAP_TOKENS * scenario.token_scale) + 4 * BLOCK_SIZE
    return max(int(resident_tokens(queries) * scenario.pool_share), longest)


def resident_tokens(queries: Sequence[SimulatedQuery]) -> float:
    """Return the prompt tokens that all open sessions hold, on average over the trace."""
    token_seconds = 0.0
    for query in queries:
        held = 0
        for event, following in zip(query.events, query.events[1:], strict=False):
            held = len(event.token_ids) + (0 if event.replace else held)
            token_seconds += held * following.delay_s
    return token_seconds / max(query.final_s for query in queries)


def in_vocabulary(query: SimulatedQuery, vocabulary: int) -> SimulatedQuery:
    """Return the query in token ids of a model."""
    return replace(
        query,
        events=[
            replace(event, token_ids=_mapped(event.token_ids, vocabulary)) for event in query.events
        ],
        question=_mapped(query.question, vocabulary),
    )


def _workload(scenario: Scenario, order: Order | None) -> Workload:
    pressed = scenario.pool_share is not None
    shape = AnnsWorkload if scenario.workload == "anns" else CrawlerWorkload
    published = shape.model_fields["prompt_tokens_median"].default
    longest = CrawlerWorkload.model_fields["prompt_tokens_cap"].default
    if pressed:
        longest = _PRESSURE_CAP_TOKENS
    return shape(
        queries=scenario.queries,
        qps=scenario.qps,
        prompt_tokens_median=published * scenario.token_scale,
        prompt_tokens_cap=round(longest * scenario.token_scale),
        template_tokens=48,
        question_tokens=16,
        output_tokens=scenario.output_tokens,
        **({"order": order or "stable"} if shape is AnnsWorkload else {}),
    )


def _mapped(ids: Sequence[int], vocabulary: int) -> list[int]:
    """Spread ids over the vocabulary, equal ones to equal ones; the first few are special."""
    special = 8
    spread = (np.asarray(ids, dtype=np.uint64) * np.uint64(2_654_435_761)) >> np.uint64(7)
    mapped: list[int] = (spread % np.uint64(vocabulary - special) + np.uint64(special)).tolist()
    return mapped
