"""What the authors of Stream2LLM published, as data.

Source: the tables of the Stream2LLM artifact (arXiv 2604.16395, ``rajveerb/stream2llm``), files
``tables/scheduler_improvements_*`` and ``tables/preemption_stats_*_recomp_only``. They print
seconds for vLLM's own scheduler and speed-ups for the policies, so seconds of a policy are derived:
printed seconds of the blocking run over the printed speed-up. All runs are Llama-3.1-8B-Instruct on
two GPUs with one output token a query; TTFT counts from the final context. Delayed runs are those
that preempt by recomputation only.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "PREEMPTIONS",
    "ROWS",
    "Hardware",
    "PreemptionRow",
    "PublishedPolicy",
    "PublishedRow",
    "WorkloadName",
    "published_row",
]

Hardware: TypeAlias = Literal["H100", "H200"]
WorkloadName: TypeAlias = Literal["anns", "crawler"]
PublishedPolicy: TypeAlias = Literal["blocking", "fcfs", "lcas", "mcps", "stock"]
_Percentiles: TypeAlias = tuple[float, float, float]


class PublishedRow(NamedTuple):
    """One published run; percentiles of TTFT in seconds.

    Attributes:
        hardware: Two GPUs of this kind.
        workload: Which trace.
        delay: Factor on all delays of the trace.
        qps: Mean arrivals a second.
        policy: ``"blocking"`` and ``"stock"`` are vLLM's scheduler without and with streaming.
        p50: Median.
        p95: 95th percentile.
        p99: 99th percentile.
        derived: Whether the seconds are not printed but follow from a printed speed-up.
    """

    hardware: Hardware
    workload: WorkloadName
    delay: int
    qps: float
    policy: PublishedPolicy
    p50: float
    p95: float
    p99: float
    derived: bool

    @property
    def percentiles(self) -> tuple[float, float, float]:
        """P50, P95 and P99."""
        return (self.p50, self.p95, self.p99)


class PreemptionRow(NamedTuple):
    """Preemptions of the delayed H200 runs that preempt by recomputation only."""

    workload: WorkloadName
    delay: int
    qps: float
    policy: PublishedPolicy
    preemptions: int


class _Printed(NamedTuple):
    """One block of a table: seconds of the baselines, then speed-ups over blocking."""

    hardware: Hardware
    workload: WorkloadName
    delay: int
    qps: float
    blocking: _Percentiles
    stock: _Percentiles
    fcfs: _Percentiles
    lcas: _Percentiles
    mcps: _Percentiles

    def rows(self) -> list[PublishedRow]:
        """Return the block as rows in seconds."""
        setting = (self.hardware, self.workload, self.delay, self.qps)
        rows = [
            PublishedRow(*setting, "blocking", *self.blocking, derived=False),
            PublishedRow(*setting, "stock", *self.stock, derived=False),
        ]
        speed_ups: list[tuple[PublishedPolicy, _Percentiles]] = [
            ("fcfs", self.fcfs),
            ("lcas", self.lcas),
            ("mcps", self.mcps),
        ]
        for policy, (p50, p95, p99) in speed_ups:
            seconds = (self.blocking[0] / p50, self.blocking[1] / p95, self.blocking[2] / p99)
            rows.append(PublishedRow(*setting, policy, *seconds, derived=True))
        return rows


# fmt: off
_TABLES = (
    _Printed("H200", "crawler", 1, 0.5,
             (0.1164, 0.8366, 1.7688), (0.0298, 0.2185, 0.6234),
             (3.891, 4.410, 3.351), (3.953, 4.280, 3.130), (3.943, 3.350, 2.680)),
    _Printed("H200", "crawler", 1, 1.0,
             (0.1313, 1.0415, 2.0930), (0.0298, 0.2694, 0.6713),
             (4.271, 4.874, 3.503), (4.367, 4.600, 3.413), (4.317, 2.927, 2.241)),
    _Printed("H200", "crawler", 1, 2.0,
             (0.1815, 1.5646, 2.4897), (0.0374, 0.3779, 0.8932),
             (4.811, 5.977, 3.946), (4.748, 5.479, 3.964), (4.850, 3.001, 1.902)),
    _Printed("H200", "crawler", 1, 4.0,
             (0.7521, 4.3418, 5.4011), (0.0722, 1.9569, 4.4535),
             (11.021, 7.012, 2.594), (10.838, 5.852, 3.683), (7.630, 1.572, 1.042)),
    _Printed("H200", "anns", 1, 0.25,
             (0.2062, 0.8810, 3.1063), (0.1166, 0.5726, 1.8198),
             (1.799, 1.687, 1.670), (1.822, 1.699, 1.703), (1.835, 1.499, 1.488)),
    _Printed("H200", "anns", 1, 0.5,
             (0.2060, 1.0526, 3.2740), (0.1297, 0.5623, 2.1651),
             (1.622, 1.816, 1.522), (1.568, 1.703, 1.648), (1.532, 1.643, 1.850)),
    _Printed("H200", "anns", 1, 1.0,
             (0.2545, 2.0116, 3.9873), (0.1563, 0.7394, 2.7436),
             (1.575, 2.630, 1.454), (1.653, 2.493, 1.748), (1.538, 1.278, 1.429)),
    _Printed("H200", "anns", 1, 2.0,
             (0.3831, 3.6789, 5.2298), (0.2713, 2.1384, 3.8154),
             (1.423, 2.258, 1.472), (1.402, 1.807, 1.359), (1.303, 1.534, 1.277)),
    _Printed("H100", "crawler", 1, 0.5,
             (0.1200, 0.8820, 1.8806), (0.0279, 0.2301, 0.6452),
             (4.304, 4.532, 3.133), (4.314, 4.364, 3.005), (4.302, 3.277, 2.385)),
    _Printed("H100", "crawler", 1, 1.0,
             (0.1403, 1.0794, 2.1666), (0.0308, 0.3096, 0.7699),
             (4.592, 4.774, 3.241), (4.599, 4.551, 3.669), (4.610, 2.968, 2.443)),
    _Printed("H100", "crawler", 1, 2.0,
             (0.1979, 1.6922, 2.6914), (0.0401, 0.4263, 1.0565),
             (4.886, 6.198, 4.009), (4.832, 5.324, 3.392), (4.976, 3.063, 1.853)),
    _Printed("H100", "crawler", 1, 4.0,
             (0.9564, 4.9226, 6.3184), (0.0800, 2.9255, 5.4978),
             (12.895, 4.947, 1.770), (12.582, 3.907, 2.613), (8.553, 1.416, 1.077)),
    _Printed("H100", "anns", 1, 0.25,
             (0.2109, 0.8886, 3.1623), (0.1162, 0.5423, 1.8434),
             (1.783, 1.669, 1.714), (1.831, 1.522, 1.693), (1.784, 1.620, 1.514)),
    _Printed("H100", "anns", 1, 0.5,
             (0.2091, 1.0549, 3.2800), (0.1282, 0.6005, 2.2062),
             (1.674, 1.729, 1.531), (1.672, 1.611, 1.638), (1.647, 1.600, 1.519)),
    _Printed("H100", "anns", 1, 1.0,
             (0.2457, 2.0525, 4.2178), (0.1479, 0.7491, 2.7803),
             (1.526, 2.718, 1.408), (1.488, 2.460, 1.668), (1.435, 1.375, 1.478)),
    _Printed("H100", "anns", 1, 2.0,
             (0.3981, 3.6991, 5.2950), (0.2651, 1.9723, 3.6257),
             (1.454, 1.876, 1.350), (1.409, 1.916, 1.692), (1.344, 1.505, 1.234)),
    _Printed("H200", "crawler", 10, 4.0,
             (0.6356, 5.9886, 8.9570), (0.0740, 0.9727, 11.4833),
             (8.770, 15.822, 10.032), (8.610, 14.066, 9.235), (5.917, 2.276, 0.727)),
    _Printed("H200", "anns", 30, 2.0,
             (0.7039, 3.9158, 6.4734), (0.2783, 27.5381, 34.5155),
             (2.696, 2.443, 1.842), (2.380, 2.324, 1.789), (2.196, 0.143, 0.189)),
)
# fmt: on

ROWS: tuple[PublishedRow, ...] = tuple(row for block in _TABLES for row in block.rows())
"""Every published run, five policies for each setting."""

PREEMPTIONS: tuple[PreemptionRow, ...] = (
    PreemptionRow("crawler", 10, 4.0, "stock", 2448),
    PreemptionRow("crawler", 10, 4.0, "fcfs", 3552),
    PreemptionRow("crawler", 10, 4.0, "lcas", 12564),
    PreemptionRow("crawler", 10, 4.0, "mcps", 3316),
    PreemptionRow("anns", 30, 2.0, "stock", 130),
    PreemptionRow("anns", 30, 2.0, "fcfs", 342),
    PreemptionRow("anns", 30, 2.0, "lcas", 385),
    PreemptionRow("anns", 30, 2.0, "mcps", 215),
)
"""Printed counts; blocking runs had none."""


def published_row(
    hardware: Hardware,
    workload: WorkloadName,
    qps: float,
    policy: PublishedPolicy,
    *,
    delay: int = 1,
) -> PublishedRow:
    """Return one published run.

    Raises:
        KeyError: No such run is published.
    """
    setting = (hardware, workload, delay, qps, policy)
    for row in ROWS:
        if row[:5] == setting:
            return row
    msg = f"no run is published for {setting}"
    raise KeyError(msg)
