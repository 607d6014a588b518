import json
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from stream2llm_rag.reader import World, reader_model
from stream2llm_rag.reader.evaluate import Examiner, answerable, unanswerable
from stream2llm_rag.reader.network import ReaderNetwork, ReaderShape

DIRECTORY = reader_model()


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    return Examiner(DIRECTORY)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DIRECTORY / "config.json").read_text())
    return loaded


def test_the_configuration_is_one_that_vllm_serves(config: dict[str, Any]) -> None:
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == 8192
    assert config["head_dim"] in {32, 64}
    assert config["num_attention_heads"] % config["num_key_value_heads"] == 0
    assert config["tie_word_embeddings"] is True
    generation = json.loads((DIRECTORY / "generation_config.json").read_text())
    assert generation["eos_token_id"] == config["eos_token_id"] == 0


def test_the_weights_are_small_finite_and_float32() -> None:
    assert (DIRECTORY / "model.safetensors").stat().st_size < 15_000_000
    for weight in load_file(DIRECTORY / "model.safetensors").values():
        assert weight.dtype == torch.float32
        assert weight.isfinite().all()


def test_the_network_trained_here_is_the_llama_of_transformers(config: dict[str, Any]) -> None:
    network = ReaderNetwork(ReaderShape(vocab_size=config["vocab_size"]))
    network.load_state_dict(load_file(DIRECTORY / "model.safetensors"))
    llama = transformers.AutoModelForCausalLM.from_pretrained(DIRECTORY, dtype=torch.float32)
    tokens = torch.randint(4, config["vocab_size"], (2, 300), generator=torch.manual_seed(0))
    with torch.inference_mode():
        ours = network.logits(network.hidden(tokens, torch.arange(300).expand(2, -1)))
        theirs = llama(tokens).logits
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)


def test_it_answers_held_out_questions(examiner: Examiner) -> None:
    cases = list(answerable(seed=11, documents=8, count=12))
    assert sum(examiner.right(case)[0] for case in cases) == 12


def test_it_says_when_the_documents_do_not_state_the_fact(examiner: Examiner) -> None:
    cases = list(unanswerable(seed=11, documents=4, count=8))
    assert sum(examiner.right(case)[0] for case in cases) >= 7


def test_greedy_generation_gives_what_the_examiner_says(examiner: Examiner) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(DIRECTORY)
    llama = transformers.AutoModelForCausalLM.from_pretrained(DIRECTORY, dtype=torch.float32)
    for case in answerable(seed=5, documents=2, count=3):
        documents, fact, expected = case
        inputs = tokenizer(examiner.prompt(documents, fact.question), return_tensors="pt")
        output = llama.generate(**inputs, max_new_tokens=32)[0, inputs["input_ids"].shape[1] :]
        said = tokenizer.decode(output) == f"{expected}<|end|>"
        assert examiner.right(case)[0] == said


def test_a_revised_document_changes_the_answer(examiner: Examiner) -> None:
    world = World(seed=23, entities=4)
    first, *rest = world.documents
    revised = world.revise(first)
    old, new = first.facts[0], revised.facts[0]
    assert examiner.right(((first, *rest), old, old.statement))[0]
    assert examiner.right(((revised, *rest), new, new.statement))[0]
    assert not examiner.right((rest, old, old.statement))[0]
