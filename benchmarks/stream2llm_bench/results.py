"""What ``stream2llm bench`` writes: one JSON file, readable by the report and by ``compare``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream2llm_rag.errors import RagError

__all__ = [
    "BASELINES",
    "TOKEN_SCALE",
    "BoundResult",
    "Capacity",
    "MicroResult",
    "Percentiles",
    "RequestTimeline",
    "ResultFile",
    "ResultFileError",
    "RunResult",
    "Scenario",
    "TrafficResult",
    "load_results",
    "percentiles",
]

BASELINES = ("blocking", "warmup", "streaming_input")
"""Ways to use stock vLLM: wait for the context, warm the prefix cache, its own session inputs."""

TOKEN_SCALE = 1 / 12
"""Prompt tokens as a share of the published ones, on a machine with few cores."""

_POINTS = {"p50": 50.0, "p95": 95.0, "p99": 99.0}


class ResultFileError(RagError):
    """A result file cannot be read; the message says what is wrong with it."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Percentiles(_Model):
    """Three percentiles in the unit of their samples; ``None`` where there are no samples."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


def percentiles(samples: list[float]) -> Percentiles:
    """Return the percentiles of ``samples``."""
    if not samples:
        return Percentiles()
    found = np.percentile(np.asarray(samples), list(_POINTS.values()))
    return Percentiles(**dict(zip(_POINTS, map(float, found), strict=True)))


class Scenario(_Model):
    """Traffic on an engine of one size; every system gets the same arrivals.

    Attributes:
        name: Unique within a result file.
        workload: Whether prompts are appended to or replaced.
        load: Share of blocking's capacity that arrives, for example 0.78.
        qps: Arrivals a second of the first seed, which follow from it, or those that a small pool
            was sized for; every seed has a capacity, and so a rate, of its own.
        pool_tokens: Tokens that the KV pool holds.
        pool_share: The pool as a share of the working set of all open sessions, where it is small
            on purpose; ``None`` where it is ample.
        output_tokens: Tokens of every answer.
        queries: Queries of the trace.
        token_scale: Prompt tokens as a share of the published ones.
    """

    name: str
    workload: Literal["crawler", "anns"]
    load: float
    qps: float
    pool_tokens: int
    pool_share: float | None = None
    output_tokens: int = 1
    queries: int
    token_scale: float = TOKEN_SCALE


class Capacity(_Model):
    """The highest arrival rate at which blocking keeps up: what it answers when it never idles.

    It is measured right before the seed is played, as the speed of a machine changes.

    Attributes:
        scenario: Whose prompts were sent, all at once.
        seed: Seed of the trace.
        queries: How many.
        tokens: Tokens of those prompts.
        drain_s: Seconds until the last one was answered.
        qps: Queries a second, the capacity.
    """

    scenario: str
    seed: int = 0
    queries: int
    tokens: int
    drain_s: float
    qps: float


class BoundResult(_Model):
    """First tokens on a machine with nothing else to do.

    Attributes:
        scenario: Whose queries were asked, one after the other.
        order: Order of documents in the prompt.
        seed: Seed of the trace.
        stride: Every how many queries were asked.
        samples: Seconds from the last event to the first token, all before it being in place.
    """

    scenario: str
    order: Literal["stable", "rank"] | None = None
    seed: int
    stride: int
    samples: list[float]


class RequestTimeline(_Model):
    """What happened to one request, in seconds since it arrived.

    Attributes:
        policy: Who answered it.
        final_s: When its context was final.
        token_s: When each token of the answer came.
        prefills_s: Begin and end of each stretch from sending a chunk to its KV being in place.
        arrivals_s: When parts of the context arrived.
    """

    policy: str
    final_s: float
    token_s: list[float]
    prefills_s: list[tuple[float, float]] = Field(default_factory=list)
    arrivals_s: list[float] = Field(default_factory=list)


class RunResult(_Model):
    """One system on one trace. Times in seconds; lists are by query, in the order of arrival.

    Attributes:
        scenario: Name of the scenario.
        policy: A baseline's name, or the policy of our engine.
        preemption: Preemption mode of our engine; ``None`` for baselines.
        order: Order of documents in the prompt; ``None`` for the append-only workload.
        seed: Seed of the trace.
        qps: Arrivals a second.
        ttft_from_final_s: First token since the final context.
        time_to_first_token_s: First token since the query arrived.
        inter_token_s: Gaps between tokens of answers; empty for answers of one token.
        bound_s: First token since the final context on a machine with nothing else to do.
        samples: What the percentiles are taken of, under their names; gaps between tokens come
            answer by answer. A query that failed is missing from all of them.
        failed: Queries without an answer.
        note: Why they failed, or what is special about the run.
        completion_s: From the first arrival to the last answer.
        throughput_tokens_s: Prompt and output tokens of answered queries a second of that time.
        tokens_computed: Prompt tokens computed, all in all; ``None`` where unknown.
        tokens_wasted: Those of them that no answer needed: computed twice, or thrown away.
        tokens_invalidated: Computed tokens that updates threw away.
        tokens_recomputed: Tokens computed again because their KV had been evicted.
        preemptions: Evictions by kind.
        evicted_blocks: KV blocks that became free by eviction.
        peak_memory_mib: Largest resident set of all processes of the system.
        cpu_s: CPU time of all processes of the system during the trace.
        busy_s: Seconds in which stock vLLM computed; ``None`` for others.
    """

    scenario: str
    policy: str
    preemption: str | None = None
    order: Literal["stable", "rank"] | None = None
    seed: int
    qps: float
    ttft_from_final_s: Percentiles
    time_to_first_token_s: Percentiles
    inter_token_s: Percentiles = Percentiles()
    bound_s: Percentiles = Percentiles()
    samples: dict[str, list[float]]
    failed: int = 0
    note: str | None = None
    completion_s: float
    throughput_tokens_s: float
    tokens_computed: int | None = None
    tokens_wasted: int | None = None
    tokens_invalidated: int | None = None
    tokens_recomputed: int | None = None
    preemptions: dict[str, int] | None = None
    evicted_blocks: int | None = None
    peak_memory_mib: float
    cpu_s: float
    busy_s: float | None = None


class TrafficResult(_Model):
    """Ordinary requests, a fixed number at a time, without any session.

    Attributes:
        system: ``"stock"`` (vLLM's ``AsyncLLM``) or ``"stream2llm"``.
        repeat: Number of the repetition; systems take turns.
        concurrency: Requests at a time.
        throughput_tokens_s: Output tokens a second.
        inter_token_s: Gaps between the tokens of an answer.
        samples: The gaps.
    """

    system: Literal["stock", "stream2llm"]
    repeat: int
    concurrency: int
    throughput_tokens_s: float
    inter_token_s: Percentiles
    samples: list[float]


class MicroResult(_Model):
    """One small measurement.

    Attributes:
        name: What was measured, for example ``"event_to_prefill_s"``.
        unit: ``"s"``, ``"bytes"`` or ``"ratio"``.
        samples: All repetitions, in order.
        parameters: What it depends on, for example ``{"idle_sessions": 5000}``.
    """

    name: str
    unit: Literal["s", "bytes", "ratio"]
    samples: list[float] = Field(min_length=1)
    parameters: dict[str, float | str] = Field(default_factory=dict)

    @property
    def median(self) -> float:
        """The median of the repetitions."""
        return float(np.median(self.samples))


class ResultFile(_Model):
    """Everything that one call of ``stream2llm bench`` measured.

    Attributes:
        command: The command that made it.
        quick: Whether it was the short form, whose tails mean little.
        complete: Whether nothing is missing.
        environment: Versions and machine.
        model: What the model is, in words.
        scenarios: Traffic that was played.
        capacity: How the rates of arrival were found.
        bounds: First tokens on an idle machine, by scenario, order and seed.
        runs: One entry a system, scenario, order and seed.
        timelines: One request of the first scenario, by system.
        traffic: Ordinary requests.
        micro: Small measurements.
        small: Which groups of small measurements are there.
        bound: First token since the final context on an idle machine, over all runs.
    """

    command: str
    quick: bool = False
    complete: bool = False
    environment: dict[str, Any] = Field(default_factory=dict)
    model: str = ""
    scenarios: list[Scenario] = Field(default_factory=list)
    capacity: list[Capacity] = Field(default_factory=list)
    bounds: list[BoundResult] = Field(default_factory=list)
    runs: list[RunResult] = Field(default_factory=list)
    timelines: list[RequestTimeline] = Field(default_factory=list)
    traffic: list[TrafficResult] = Field(default_factory=list)
    micro: list[MicroResult] = Field(default_factory=list)
    small: list[str] = Field(default_factory=list)
    bound: Percentiles = Percentiles()

    def scenario(self, name: str) -> Scenario:
        """Return the scenario of that name.

        Raises:
            KeyError: There is none.
        """
        for scenario in self.scenarios:
            if scenario.name == name:
                return scenario
        raise KeyError(name)

    def save(self, path: Path) -> None:
        """Write the file; a reader never sees half of it."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def load_results(path: Path) -> ResultFile:
    """Read a result file.

    Raises:
        ResultFileError: It is missing, or not one of ours.
    """
    try:
        return ResultFile.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path} cannot be read: {error}; `stream2llm bench --json {path}` makes it"
        raise ResultFileError(msg) from error
    except ValidationError as error:
        msg = f"{path} is not a result of `stream2llm bench`: {error}"
        raise ResultFileError(msg) from error
