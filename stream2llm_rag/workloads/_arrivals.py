"""When the queries of a workload arrive."""

from numpy.random import Generator

__all__ = ["arrival_times"]


def arrival_times(count: int, qps: float, rng: Generator, cv: float = 1.0) -> list[float]:
    """Returns the arrival times of an open-loop workload, in seconds, ascending.

    Args:
        count: Number of arrivals.
        qps: Mean arrivals a second.
        rng: Source of randomness.
        cv: Coefficient of variation of the Gamma distributed gaps: 1 gives a Poisson process, more
            gives bursts, less a regular beat.

    Raises:
        ValueError: The rate or the coefficient of variation is not positive.
    """
    if qps <= 0 or cv <= 0:
        msg = f"qps and cv must be greater than 0, got qps={qps} and cv={cv}"
        raise ValueError(msg)
    variance = cv * cv
    times: list[float] = rng.gamma(1 / variance, variance / qps, count).cumsum().tolist()
    return times
