from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from stream2llm_rag.cli._profile._target import target
from stream2llm_rag.random_llama import random_llama_arguments, save_random_llama


def test_the_model_is_of_its_size(tmp_path: Path) -> None:
    label = save_random_llama("30m", tmp_path)
    assert "31 M parameters" in label
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.num_hidden_layers, config.hidden_size) == (8, 512)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) <= config.vocab_size
    # Two bytes for each parameter.
    assert 60e6 < (tmp_path / "model.safetensors").stat().st_size < 64e6


def test_a_large_one_has_a_shape_and_no_weights(tmp_path: Path) -> None:
    label = save_random_llama("8b", tmp_path)
    assert "8030 M parameters" in label
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.architectures, config.vocab_size) == (["LlamaForCausalLM"], 128_256)
    assert config.rope_parameters["rope_theta"] == 500_000
    assert not list(tmp_path.glob("*.safetensors"))
    assert random_llama_arguments("8b") == {"load_format": "dummy"}
    assert random_llama_arguments("30m") == {}


def test_it_is_gone_afterwards() -> None:
    with target(None, "30m") as chosen:
        assert Path(chosen.path, "config.json").is_file()
    assert not Path(chosen.path).exists()


def test_a_model_is_called_by_its_folder_or_its_hub_id(tmp_path: Path) -> None:
    with target(str(tmp_path), None) as chosen:
        assert chosen == (str(tmp_path), tmp_path.name, {})
    with target("org/model", None) as chosen:
        assert chosen == ("org/model", "org/model", {})
