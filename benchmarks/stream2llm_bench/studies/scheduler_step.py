"""What planning costs: a step of our scheduler against a step of stock vLLM, no model involved.

    python -m stream2llm_bench.studies.scheduler_step [--json OUT]

Both schedulers get the same running answers; ours also holds thousands of parked sessions. Steps of
the two are timed in turn, so that a drift of the machine's speed meets both. "Rank and feasibility"
is what Stream2LLM reports for its scheduler: sorting the queue and walking it against the budgets.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from stream2llm_bench.studies._result_file import add_json_option, write_figures
from stream2llm_engine.policies import policy_names
from stream2llm_engine.vllm_adapter.modelless import (
    build_scheduler,
    modelless_request,
    runner_output,
    scheduler_class,
)
from stream2llm_engine.wire import Operation, OperationKind

_SECRET = "benchmark"
_PROMPT_TOKENS = 512
_POOL_BLOCKS = 200_000


def _build(policy: str) -> Any:
    scheduler = build_scheduler(
        scheduler_class(policy),
        blocks=_POOL_BLOCKS,
        block_size=16,
        token_budget=8192,
        max_requests=1024,
        max_model_len=32_768,
        prefix_caching=False,
    )
    if policy != "blocking":
        scheduler.configure_streams(secret=_SECRET, policy=policy)
    return scheduler


def _add(scheduler: Any, name: str, tokens: int, *, session: bool = False) -> None:
    extra = None
    if session:
        extra = Operation(kind=OperationKind.OPEN, sequence=1, secret=_SECRET).encode()
    scheduler.add_request(
        modelless_request(
            name,
            list(range(tokens)),
            arrival_s=time.time(),
            max_tokens=10_000,
            extra_args=extra,
        )
    )


def _step(scheduler: Any) -> float:
    """Run one step and return the seconds that ``schedule()`` took."""
    started = time.perf_counter()
    output = scheduler.schedule()
    seconds = time.perf_counter() - started
    sampled = {}
    for request_id in output.num_scheduled_tokens:
        request = scheduler.requests[request_id]
        sampled[request_id] = [1] if request.num_computed_tokens >= request.num_tokens else []
    scheduler.update_from_output(output, runner_output(sampled))
    return seconds


def _answering(policy: str, answers: int, parked: int) -> Any:
    """Return a scheduler with that many running answers and parked sessions."""
    scheduler = _build(policy)
    for index in range(parked):
        _add(scheduler, f"parked-{index}", 33, session=True)
    while parked and scheduler.has_requests():
        _step(scheduler)
    for index in range(answers):
        _add(scheduler, f"answer-{index}", _PROMPT_TOKENS)
    while any(
        not r.num_output_tokens
        for r in scheduler.requests.values()
        if r.max_tokens > 1 and not r.request_id.startswith("parked")
    ):
        _step(scheduler)
    return scheduler


def whole_step(policy: str, answers: int, parked: int, steps: int) -> dict[str, Any]:
    """Time ``schedule()`` with running answers, ours and stock vLLM's in turn."""
    ours = _answering(policy, answers, parked)
    stock = _answering("blocking", answers, 0)
    pairs = [(_step(ours), _step(stock)) for _ in range(steps)]
    return {
        "policy": policy,
        "answers": answers,
        "parked": parked,
        "ours_us": statistics.median(p[0] for p in pairs) * 1e6,
        "stock_us": statistics.median(p[1] for p in pairs) * 1e6,
        "ratio": statistics.median(p[0] / p[1] for p in pairs),
    }


def rank_and_feasibility(policy: str, queue: int, steps: int) -> dict[str, Any]:
    """Time ranking and planning of a queue of prompts, some finalized and most open."""
    scheduler = _build(policy)
    for index in range(queue):
        _add(scheduler, f"r{index}", 64 + 37 * index % 4000, session=index % 4 != 0)
    _step(scheduler)
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        scheduler._plan(time.time())
        times.append(time.perf_counter() - started)
    return {"policy": policy, "queue": queue, "us": statistics.median(times) * 1e6}


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_json_option(parser)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    ranking = [
        rank_and_feasibility(policy, queue, arguments.steps)
        for policy in policy_names()
        for queue in (10, 100, 500)
    ]
    steps = [
        whole_step(policy, answers, parked, arguments.steps)
        for policy in ("fcfs", "srpt")
        for answers in (64, 500)
        for parked in (0, 5000)
    ]
    for row in ranking:
        print(f"rank + feasibility  {row['policy']:5} {row['queue']:4} queued  {row['us']:7.0f} us")
    for row in steps:
        print(
            f"schedule()  {row['policy']:5} {row['answers']:4} answers {row['parked']:5} parked  "
            f"ours {row['ours_us']:6.0f} us  stock {row['stock_us']:6.0f} us  x{row['ratio']:.2f}"
        )
    figures = {"rank_and_feasibility": ranking, "schedule": steps}
    write_figures(arguments.json, "scheduler_step", figures)


if __name__ == "__main__":
    main()
