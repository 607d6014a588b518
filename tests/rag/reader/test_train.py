import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from stream2llm_rag.reader import reader_model
from stream2llm_rag.reader.batches import draw_batch
from stream2llm_rag.reader.conversations import ConversationMix, conversation
from stream2llm_rag.reader.copying import Ids, Sequence, bound_statements, copied_segments
from stream2llm_rag.reader.curriculum import STAGES, Stage
from stream2llm_rag.reader.export import save_model
from stream2llm_rag.reader.initialise import initialise
from stream2llm_rag.reader.network import ReaderNetwork, ReaderShape
from stream2llm_rag.reader.tokenizer import SPECIAL_TOKENS, save_tokenizer
from stream2llm_rag.reader.train import Trainer

SHAPE = ReaderShape(vocab_size=2048, intermediate_size=64)
VOCABULARY = np.arange(4, 2048)
STAGE = Stage(
    steps=4,
    lengths=(128,),
    copying=0.5,
    conversations=ConversationMix(documents=(1, 1)),
    learning_rate=(1e-3, 1e-4),
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # Steps this small gain nothing from threads, and on a busy machine waiting for them is slow.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(reader_model() / "tokenizer.json"))


def trainer(tokenizer: Tokenizer, seed: int = 0) -> Trainer:
    return Trainer(
        shape=SHAPE, tokenizer=tokenizer, stages=(STAGE,), seed=seed, tokens_per_step=256
    )


def test_a_resumed_run_equals_an_uninterrupted_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    whole, begun = trainer(tokenizer), trainer(tokenizer)
    expected = [whole.advance() for _ in range(4)]
    head = [begun.advance() for _ in range(2)]
    begun.save(tmp_path / "checkpoint.pt")
    resumed = trainer(tokenizer, seed=0)
    resumed.load(tmp_path / "checkpoint.pt")
    assert head + [resumed.advance() for _ in range(2)] == expected
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="ends after 4 steps"):
        resumed.advance()


def test_training_changes_every_weight(tokenizer: Tokenizer) -> None:
    run = trainer(tokenizer)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    run.advance()
    for name, value in run.network.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_a_batch_depends_on_seed_and_step_alone(tokenizer: Tokenizer) -> None:
    def tokens(seed: int, step: int) -> torch.Tensor:
        return draw_batch(
            seed=seed, step=step, stage=STAGES[1], tokenizer=tokenizer, tokens_per_step=1024
        ).tokens

    assert torch.equal(tokens(1, 5), tokens(1, 5))
    assert not torch.equal(tokens(1, 5), tokens(1, 6))
    assert not torch.equal(tokens(1, 5), tokens(2, 5))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_draws_batches_with_something_to_learn(
    stage: Stage, tokenizer: Tokenizer
) -> None:
    for step in range(4):
        batch = draw_batch(
            seed=0, step=step, stage=stage, tokenizer=tokenizer, tokens_per_step=4096
        )
        assert batch.tokens.shape == batch.positions.shape == batch.learn.shape
        assert batch.learn[:, 1:].any(dim=1).float().mean() > 0.5
        assert (batch.positions.diff(dim=1) >= 1).all()
        assert batch.positions.max() < SHAPE.max_position_embeddings


@pytest.mark.parametrize("draw", [copied_segments, bound_statements])
def test_copied_tokens_stood_there_before(
    draw: Callable[[np.random.Generator, Ids, int], Sequence],
) -> None:
    for seed in range(10):
        sequence = draw(np.random.default_rng(seed), VOCABULARY, 256)
        assert sequence.tokens.shape == sequence.learn.shape == (256,)
        places = np.flatnonzero(sequence.learn)
        assert len(places) > 10
        for place in places:
            pair = sequence.tokens[place - 1 : place + 1]
            earlier = np.lib.stride_tricks.sliding_window_view(sequence.tokens[:place], 2)
            assert (earlier == pair).all(axis=1).any()


def test_the_learned_part_of_a_conversation_is_its_answers(tokenizer: Tokenizer) -> None:
    mix = ConversationMix(documents=(1, 3), plain=0.5, varied_prompts=1.0, absent=0.3, wild=0.3)
    for seed in range(20):
        sequence = conversation(random.Random(seed), tokenizer, mix, 512)
        text = tokenizer.decode(sequence.tokens.tolist(), skip_special_tokens=False)
        learned = tokenizer.decode(
            sequence.tokens[sequence.learn].tolist(), skip_special_tokens=False
        )
        answers = [
            turn.split("<|end|>\n")[0] for turn in (text + "<|end|>\n").split("<|assistant|>\n")[1:]
        ]
        assert learned.rstrip("\n") in ("".join(f"{answer}<|end|>" for answer in answers), learned)
        assert learned.startswith(answers[0][:8])


def test_the_network_can_copy_a_little_before_any_training() -> None:
    network = ReaderNetwork(ReaderShape(vocab_size=2048))
    initialise(network, seed=0)
    once = torch.randperm(2044, generator=torch.manual_seed(0))[:100] + len(SPECIAL_TOKENS)
    tokens = once.repeat(2)[None]
    with torch.inference_mode():
        hidden = network.hidden(tokens, torch.arange(200)[None])
        guessed = network.logits(hidden)[0, 100:-1].argmax(-1)
    assert (guessed == once[1:]).float().mean() > 0.05


def test_an_exported_model_loads(tokenizer: Tokenizer, tmp_path: Path) -> None:
    network = ReaderNetwork(SHAPE)
    save_model(network, tmp_path)
    save_tokenizer(tokenizer, tmp_path, max_length=SHAPE.max_position_embeddings)
    llama = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(llama.get_input_embeddings().weight, network.model.embed_tokens.weight)
    shipped = json.loads((reader_model() / "config.json").read_text())
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == {**shipped, "intermediate_size": SHAPE.intermediate_size}
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / name).read_text() == (reader_model() / name).read_text()


def test_importing_the_package_does_not_load_torch() -> None:
    program = (
        "import sys, stream2llm_rag.reader as reader; reader.World(seed=0); reader.reader_model();"
        "assert not {'torch', 'transformers', 'tokenizers', 'vllm'} & set(sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
