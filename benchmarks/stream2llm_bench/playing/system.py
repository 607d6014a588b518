"""One system, at home in a measuring process: vLLM allows one engine a process on CPU."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from stream2llm_bench.measuring_process import report_progress
from stream2llm_bench.playing.clients import Client, EngineSize, StockClient, StreamClient
from stream2llm_bench.playing.player import Played, play
from stream2llm_bench.playing.scenarios import all_at_once, queries_of
from stream2llm_bench.results import BASELINES, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from stream2llm_engine.simulator import SimulatedQuery

__all__ = ["Ask", "EngineSpec", "system"]


class EngineSpec(BaseModel):
    """What a system runs.

    Attributes:
        size: What all systems have in common.
        vocabulary: Size of the model's vocabulary.
        kind: Stock vLLM in this process, stock ``AsyncLLM``, or our engine.
        policy: Policy of our engine.
        preemption: What our engine does with evicted KV.
        profile: Prices of the hardware for our engine; ``None``: learned.
    """

    model_config = ConfigDict(frozen=True)

    size: EngineSize
    vocabulary: int
    kind: Literal["stock", "async_stock", "stream"]
    policy: str = "srpt"
    preemption: str = "auto"
    profile: str | None = None


class Ask(BaseModel):
    """What a system shall do.

    Attributes:
        do: Play a trace; send all its prompts at once; or ask an idle machine one query after the
            other.
        scenario: What to play.
        system: A baseline or a policy.
        order: Order of documents in the prompt.
        seed: Seed of the trace.
        stride: With ``"bound"``: every how many queries are asked.
        patience_s: Seconds after the last context is final in which an answer has to come.
    """

    model_config = ConfigDict(frozen=True)

    do: Literal["play", "drain", "bound"]
    scenario: Scenario
    system: str
    order: Literal["stable", "rank"] | None = None
    seed: int
    stride: int = 1
    patience_s: float = 90.0


@asynccontextmanager
async def system(spec: EngineSpec) -> AsyncIterator[Callable[[Ask], Awaitable[Any]]]:
    """Run what ``spec`` says; what it yields does what it is asked to."""
    client: Client
    if spec.kind == "stream":
        client = await StreamClient.start(
            spec.size, policy=spec.policy, preemption=spec.preemption, profile=spec.profile
        )
    else:
        client = await StockClient.start(spec.size, in_process=spec.kind == "stock")
    try:
        yield partial(_do, client, spec)
    finally:
        await client.close()


async def _do(client: Client, spec: EngineSpec, ask: Ask) -> Any:
    queries = queries_of(ask.scenario, ask.seed, ask.order, spec.vocabulary)
    await client.forget()
    if ask.do == "bound":
        assert isinstance(client, StreamClient)
        return [await _bound(client, query) for query in queries[:: ask.stride]]
    if ask.do == "drain":
        queries = all_at_once(queries)
    if isinstance(client, StockClient):
        client.mode = cast("Any", ask.system)
    before = await client.counters()
    played = await play(client, queries, patience_s=ask.patience_s, on_answer=report_progress)
    after = await client.counters()
    return _summary(ask, queries, played, before, after)


async def _bound(client: StreamClient, query: SimulatedQuery) -> float:
    seconds = await client.on_idle_machine(query)
    report_progress(1)
    return seconds


def _summary(
    ask: Ask,
    queries: list[SimulatedQuery],
    played: Played,
    before: dict[str, Any],
    after: dict[str, Any],
) -> dict[str, Any]:
    answered = [(q, t) for q, t in zip(queries, played.times, strict=True) if t is not None]
    asked_s = {query.query_id: played.started_s + query.arrival_s for query in queries}
    shown = _typical(queries)
    tokens = sum(len(q.final_prompt()) + q.output_tokens for q, _ in answered)
    first_s = played.started_s + queries[0].arrival_s
    needed = sum(len(query.final_prompt()) for query, _ in answered)
    summary: dict[str, Any] = {
        "samples": {
            "ttft_from_final_s": [t.token_s[0] - t.due_s for _, t in answered],
            "time_to_first_token_s": [t.token_s[0] - asked_s[q.query_id] for q, t in answered],
            "inter_token_s": [
                later - sooner
                for _, t in answered
                for sooner, later in zip(t.token_s, t.token_s[1:], strict=False)
            ],
        },
        "failed": len(queries) - len(answered),
        "note": "; ".join(played.problems) or None,
        "completion_s": played.ended_s - first_s,
        "throughput_tokens_s": tokens / (played.ended_s - first_s),
        "peak_memory_mib": played.peak_memory_mib,
        "cpu_s": played.cpu_s,
        "timeline": [
            {
                "final_s": times.due_s - asked_s[query.query_id],
                "token_s": [at - asked_s[query.query_id] for at in times.token_s],
                "prefills_s": [
                    (begin - asked_s[query.query_id], end - asked_s[query.query_id])
                    for begin, end in times.prefills_s
                ],
                "arrivals_s": list(accumulate(event.delay_s for event in query.events)),
            }
            for query, times in answered
            if query is shown
        ],
    }
    if "busy_s" in after:
        summary["busy_s"] = after["busy_s"] - before["busy_s"]
    if "tokens" in after:
        summary |= _counted(before, after)
    elif ask.system in BASELINES[:2]:
        computed = sum(t.computed_tokens or 0 for _, t in answered)
        summary |= {"tokens_computed": computed, "tokens_wasted": max(0, computed - needed)}
    return summary


def _typical(queries: list[SimulatedQuery]) -> SimulatedQuery:
    """Return the query in the middle of the trace whose prompt is of median length."""
    third = len(queries) // 3
    middle = queries[third : 2 * third + 1]
    middle = sorted(middle, key=lambda query: len(query.final_prompt()))
    return middle[len(middle) // 2]


def _counted(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    tokens = {name: after["tokens"][name] - before["tokens"][name] for name in after["tokens"]}
    kinds = ("recompute", "swap")
    return {
        "tokens_computed": tokens["computed"],
        "tokens_wasted": tokens["invalidated"] + tokens["recomputed"],
        "tokens_invalidated": tokens["invalidated"],
        "tokens_recomputed": tokens["recomputed"],
        "preemptions": {k: after["preemptions"][k] - before["preemptions"][k] for k in kinds},
        "evicted_blocks": after["evicted_blocks"] - before["evicted_blocks"],
    }
