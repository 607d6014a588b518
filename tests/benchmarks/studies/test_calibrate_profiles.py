from pathlib import Path

import numpy as np
import pytest

from stream2llm_bench.studies.bounded_fit import fit
from stream2llm_bench.studies.calibrate_profiles import (
    CALIBRATION_RATES,
    CONTEXT_SHARE,
    Sample,
    blocking_p50_s,
    calibrated,
    is_calibration_row,
    with_parameters,
    without_streaming,
)
from stream2llm_bench.studies.paper_runs import Traffic, paper_queries, paper_settings
from stream2llm_bench.studies.profile_files import write_profiles
from stream2llm_bench.studies.published import ROWS
from stream2llm_engine.simulator import simulate
from stream2llm_profiles import HardwareProfile, load_profile


@pytest.fixture(scope="module")
def profile() -> HardwareProfile:
    return load_profile("h200-tp2-llama-3.1-8b")


def test_the_fit_solves_a_linear_model() -> None:
    design = np.array([[5.0, 3.0, 1.0], [11.0, 2.0, 1.0], [7.0, 5.0, 1.0], [2.0, 1.0, 1.0]])
    truth = np.array([0.3, 0.2, 0.1])
    found = fit(
        lambda x: design @ x,
        design @ truth,
        start=np.ones(3),
        lower=np.zeros(3),
        steps=np.full(3, 0.1),
        iterations=1,
    )
    assert found == pytest.approx(truth)


def test_the_fit_keeps_to_its_bounds() -> None:
    design = np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    # The unbounded optimum is (1, -0.5).
    targets = design @ np.array([1.0, -0.5])
    found = fit(
        lambda x: design @ x,
        targets,
        start=np.ones(2),
        lower=np.zeros(2),
        steps=np.full(2, 0.1),
    )
    relative = design / targets[:, None]
    best = relative[:, 0].sum() / (relative[:, 0] ** 2).sum()
    assert found == pytest.approx([best, 0.0])


def test_calibration_recovers_known_parameters(profile: HardwareProfile) -> None:
    truth = np.array([2.0e-5, 4.0e-3, 9.0e-3])
    known = with_parameters(profile, truth)
    samples = []
    for workload, rates in CALIBRATION_RATES.items():
        for qps in rates:
            traffic = Traffic(workload, 1, qps)
            queries = [without_streaming(q) for q in paper_queries(traffic, seed=1, count=60)]
            blank = Sample(traffic, 0.0, [queries])
            samples.append(blank._replace(target_s=blocking_p50_s(known, blank)))
    runs: list[int] = []
    guess = with_parameters(profile, np.array([1.8e-5, 3e-3, 6e-3]))
    found = calibrated(guess, samples, iterations=4, on_run=lambda: runs.append(1))
    prefill = found.prefill
    assert prefill.token_s == pytest.approx(truth[0], rel=0.03)
    assert prefill.step_overhead_s == pytest.approx(truth[1], rel=0.2)
    assert found.request_overhead_s == pytest.approx(truth[2], rel=0.2)
    assert prefill.token_context_s == pytest.approx(CONTEXT_SHARE * prefill.token_s)
    assert len(runs) == 4 * 4 * len(samples)


def test_a_query_without_streaming_blocks_as_long(profile: HardwareProfile) -> None:
    queries = paper_queries(Traffic("anns", 1, 0.5), seed=0, count=20)
    settings = paper_settings(profile, "anns", "blocking")
    bare = simulate([without_streaming(q) for q in queries], settings).ttft_from_final_s
    assert bare == pytest.approx(simulate(queries, settings).ttft_from_final_s)


def test_four_runs_of_each_machine_are_fitted_to() -> None:
    rows = list(filter(is_calibration_row, ROWS))
    assert {row.policy for row in rows} == {"blocking"}
    assert [row.hardware for row in rows].count("H200") == 4
    assert [row.hardware for row in rows].count("H100") == 4


def test_profiles_that_follow_from_h100_are_written_too(
    profile: HardwareProfile, tmp_path: Path
) -> None:
    h100 = with_parameters(load_profile("h100-tp2-llama-3.1-8b"), np.array([2e-5, 1e-3, 3e-3]))
    paths = write_profiles({"H200": profile, "H100": h100}, tmp_path)
    written = {path.stem: load_profile(path) for path in paths}
    assert written["h200-tp2-llama-3.1-8b"] == profile
    assert written["slow-gpu-llama-3.1-8b"].prefill.token_s == pytest.approx(1.6e-4)
    pcie = written["slow-pcie-llama-3.1-8b"]
    assert pcie.prefill == written["h100-tp2-llama-3.1-8b"].prefill
    assert pcie.swap == load_profile("slow-pcie-llama-3.1-8b").swap
