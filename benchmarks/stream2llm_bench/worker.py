"""One system in a process of its own: vLLM allows one engine a process on CPU.

The process reads one JSON request a line and writes one JSON reply a line, marked, because vLLM
prints as well. An idle one uses no CPU, so several can take turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from stream2llm_bench.clients import Client, EngineSize, StockClient, StreamClient
from stream2llm_bench.player import Played, play
from stream2llm_bench.results import BASELINES, Scenario
from stream2llm_bench.scenarios import all_at_once, queries_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream2llm_engine.simulator import SimulatedQuery

__all__ = ["MARK", "Ask", "EngineSpec", "main"]

MARK = "BENCH "
_GRACE_S = 10.0


class EngineSpec(BaseModel):
    """What a worker runs.

    Attributes:
        size: What all systems have in common.
        vocabulary: Size of the model's vocabulary.
        kind: Stock vLLM in the worker's process, stock ``AsyncLLM``, or our engine.
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
    """What a worker shall do.

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


async def _start(spec: EngineSpec) -> Client:
    if spec.kind != "stream":
        return await StockClient.start(spec.size, in_process=spec.kind == "stock")
    return await StreamClient.start(
        spec.size, policy=spec.policy, preemption=spec.preemption, profile=spec.profile
    )


async def _do(client: Client, spec: EngineSpec, ask: Ask, *, say: Callable[[Any], None]) -> Any:
    queries = queries_of(ask.scenario, ask.seed, ask.order, spec.vocabulary)
    await client.forget()
    if ask.do == "bound":
        assert isinstance(client, StreamClient)
        return [await _bound(client, query, say) for query in queries[:: ask.stride]]
    if ask.do == "drain":
        queries = all_at_once(queries)
    if isinstance(client, StockClient):
        client.mode = cast("Any", ask.system)
    before = await client.counters()
    played = await play(
        client, queries, patience_s=ask.patience_s, on_answer=lambda n: say({"answered": n})
    )
    after = await client.counters()
    return _summary(ask, queries, played, before, after)


async def _bound(client: StreamClient, query: SimulatedQuery, say: Callable[[Any], None]) -> float:
    seconds = await client.on_idle_machine(query)
    say({"answered": 1})
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
    if after:
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


def _say(reply: Any) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(reply)}\n")
    sys.stdout.flush()


def _read_lines(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str]) -> None:
    """Pass on what the parent writes; nothing outlives a parent that is gone."""
    for line in sys.stdin:
        loop.call_soon_threadsafe(lines.put_nowait, line)
    loop.call_soon_threadsafe(lines.put_nowait, "")
    time.sleep(_GRACE_S)
    os.killpg(0, signal.SIGKILL)


async def _serve(spec: EngineSpec) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    reading = threading.Thread(
        target=_read_lines, args=(asyncio.get_running_loop(), lines), daemon=True
    )
    reading.start()
    client = await _start(spec)
    _say({"ready": True})
    try:
        while line := await lines.get():
            doing = asyncio.create_task(_do(client, spec, Ask.model_validate_json(line), say=_say))
            following = asyncio.create_task(lines.get())
            await asyncio.wait([doing, following], return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                # The parent asks for one thing at a time, so this is the end of its input.
                doing.cancel()
                return
            following.cancel()
            _say({"done": doing.result()})
    finally:
        await client.close()


def main() -> None:
    """Serve until the input ends; the specification is the only argument."""
    asyncio.run(_serve(EngineSpec.model_validate_json(sys.argv[1])))


if __name__ == "__main__":
    main()
