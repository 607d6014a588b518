import pytest

from stream2llm_bench.studies.swap_bandwidth import Shape, measure


@pytest.mark.parametrize("pattern", ["consecutive", "scattered", "used", "fragmented"])
def test_a_small_shape_is_measured(pattern: str) -> None:
    shape = Shape("small", 2, 2, 8, 16, blocks=40, copied=10)
    row = measure(shape, pattern, repeats=3)
    assert row["bytes"] == 10 * 2 * 2 * 16 * 2 * 8 * 2
    for way in ("out", "in"):
        assert row[f"{way}_ratio"] > 0
        assert row[f"{way}_gb_s"] > 0
