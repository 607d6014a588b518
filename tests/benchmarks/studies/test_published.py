from collections import Counter

import pytest

from stream2llm_bench.studies.published import PREEMPTIONS, ROWS, published_row


def test_every_setting_has_all_five_policies() -> None:
    settings = Counter(row[:4] for row in ROWS)
    assert len(ROWS) == 90
    assert set(settings.values()) == {5}
    assert len({row[:5] for row in ROWS}) == 90


def test_percentiles_ascend() -> None:
    assert all(0 < row.p50 < row.p95 < row.p99 for row in ROWS)


def test_baselines_are_printed_and_policies_derived() -> None:
    assert {row.policy for row in ROWS if row.derived} == {"fcfs", "lcas", "mcps"}
    assert {row.policy for row in ROWS if not row.derived} == {"blocking", "stock"}


# The tables also print the policies' speed-ups over vLLM's own scheduler with streaming.
@pytest.mark.parametrize(
    ("hardware", "workload", "delay", "qps", "policy", "speed_ups"),
    [
        ("H200", "crawler", 1, 0.5, "fcfs", (0.995, 1.152, 1.181)),
        ("H200", "crawler", 1, 4.0, "lcas", (1.041, 2.638, 3.037)),
        ("H200", "anns", 1, 2.0, "mcps", (0.923, 0.892, 0.932)),
        ("H100", "crawler", 1, 2.0, "fcfs", (0.990, 1.562, 1.574)),
        ("H100", "anns", 1, 1.0, "lcas", (0.896, 0.898, 1.100)),
        ("H200", "crawler", 10, 4.0, "fcfs", (1.021, 2.570, 12.861)),
        ("H200", "anns", 30, 2.0, "lcas", (0.941, 16.343, 9.539)),
    ],
)
def test_derived_seconds_agree_with_the_other_printed_speed_ups(
    hardware: str,
    workload: str,
    delay: int,
    qps: float,
    policy: str,
    speed_ups: tuple[float, float, float],
) -> None:
    rows = {row[:5]: row for row in ROWS}
    stock = rows[hardware, workload, delay, qps, "stock"]  # type: ignore[index]
    ours = rows[hardware, workload, delay, qps, policy]  # type: ignore[index]
    found = [a / b for a, b in zip(stock.percentiles, ours.percentiles, strict=True)]
    assert found == pytest.approx(speed_ups, rel=0.005)


def test_the_headline_is_in_the_data() -> None:
    blocking = published_row("H200", "crawler", 4.0, "blocking")
    assert blocking.p50 / published_row("H200", "crawler", 4.0, "fcfs").p50 == pytest.approx(11.021)
    with pytest.raises(KeyError, match="no run is published"):
        published_row("H100", "crawler", 4.0, "fcfs", delay=10)


def test_preemptions_belong_to_published_delayed_runs() -> None:
    for row in PREEMPTIONS:
        assert published_row("H200", row.workload, row.qps, row.policy, delay=row.delay).delay > 1
        assert row.preemptions > 0
