"""How long steps take on two cores, roughly; the meter corrects for the machine it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream2llm_bench.playing.scenarios import Plan, Traffic

__all__ = ["bound_estimate_s", "capacity_estimate_s", "plan_estimate_s", "play_estimate_s"]

_START_S = 15.0
_QUERY_S = 0.3
_CRAWL_S = 12.0


def capacity_estimate_s(traffic: Traffic) -> float:
    """Return the seconds of finding a scenario's capacity."""
    return _QUERY_S * traffic.queries


def bound_estimate_s(traffic: Traffic, stride: int) -> float:
    """Return the seconds of asking an idle machine for one trace."""
    return _QUERY_S * traffic.queries / stride


def play_estimate_s(queries: int, load: float) -> float:
    """Return the seconds of one trace."""
    return _CRAWL_S + _QUERY_S * queries / load


def plan_estimate_s(plan: Plan) -> float:
    """Return the seconds of all traces of a plan, starts of engines included."""
    engines = {
        (system, traffic.pool_share) for traffic in plan.traffic for system, _ in traffic.systems
    }
    seconds = _START_S * len(engines)
    for traffic in plan.traffic:
        seeds = plan.seeds_of(traffic)
        # A pool that is a share of the working set takes a rate to be sized.
        drains = (0 if traffic.capacity_of else len(seeds)) + (traffic.pool_share is not None)
        seconds += drains * capacity_estimate_s(traffic)
        orders = {order for _, order in traffic.systems}
        stride = plan.stride_of(traffic)
        seconds += len(orders) * len(seeds) * bound_estimate_s(traffic, stride)
        seconds += len(plan.traces_of(traffic)) * play_estimate_s(traffic.queries, traffic.load)
    return seconds
