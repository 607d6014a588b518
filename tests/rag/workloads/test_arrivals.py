import numpy as np
import pytest

from stream2llm_rag.workloads import arrival_times


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_rate_and_burstiness(cv: float) -> None:
    times = arrival_times(50_000, 4.0, np.random.default_rng(0), cv)
    gaps = np.diff([0.0, *times])
    assert min(gaps) >= 0
    assert gaps.mean() == pytest.approx(0.25, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_a_poisson_process_is_the_default() -> None:
    gaps = np.diff(arrival_times(50_000, 1.0, np.random.default_rng(0)))
    assert np.median(gaps) == pytest.approx(np.log(2), rel=0.02)


@pytest.mark.parametrize(("qps", "cv"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_bad_arguments(qps: float, cv: float) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        arrival_times(1, qps, np.random.default_rng(0), cv)
