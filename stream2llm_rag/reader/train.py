"""Trains the reader: ``python -m stream2llm_rag.reader.train --out DIR [--resume]``.

Every step draws its batch from the seed and its own number, so a resumed run continues exactly
where the interrupted one would have.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from stream2llm_rag.reader.batches import Batch, draw_batch
from stream2llm_rag.reader.curriculum import STAGES, Stage
from stream2llm_rag.reader.export import save_model
from stream2llm_rag.reader.initialise import initialise
from stream2llm_rag.reader.network import ReaderNetwork, ReaderShape
from stream2llm_rag.reader.tokenizer import build_tokenizer, save_tokenizer, training_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

_LOG = logging.getLogger(__name__)
_WARM_UP_STEPS = 30
_LARGEST_GRADIENT = 1.0


class Trainer:
    """One training run.

    Args:
        shape: Sizes of the network.
        tokenizer: The reader's tokenizer.
        stages: The curriculum.
        seed: Seed of the weights and of every batch.
        tokens_per_step: About how many tokens a step sees.
    """

    def __init__(
        self,
        *,
        shape: ReaderShape,
        tokenizer: Tokenizer,
        stages: Sequence[Stage] = STAGES,
        seed: int = 0,
        tokens_per_step: int = 4096,
    ) -> None:
        self.network = ReaderNetwork(shape)
        self.step = 0
        self._tokenizer = tokenizer
        self._stages = stages
        self._seed = seed
        self._tokens_per_step = tokens_per_step
        initialise(self.network, seed=seed)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )

    @property
    def total_steps(self) -> int:
        """Steps of the whole curriculum."""
        return sum(stage.steps for stage in self._stages)

    def advance(self) -> tuple[str, float, float]:
        """Takes one step.

        Returns:
            The kind of the batch, its loss in nats per learned token, and the share of learned
            tokens that were predicted.
        """
        stage, done = self._place()
        batch = draw_batch(
            seed=self._seed,
            step=self.step,
            stage=stage,
            tokenizer=self._tokenizer,
            tokens_per_step=self._tokens_per_step,
        )
        start, end = stage.learning_rate
        rate = (start + (end - start) * done) * min(1.0, (self.step + 1) / _WARM_UP_STEPS)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss, accuracy = self._learn(batch)
        self.step += 1
        return batch.kind, loss, accuracy

    def save(self, path: Path) -> None:
        """Writes a checkpoint; an interrupted write leaves the previous one intact."""
        state = {
            "step": self.step,
            "shape": asdict(self.network.shape),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continues from a checkpoint of a run with the same shape."""
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _place(self) -> tuple[Stage, float]:
        ends = list(itertools.accumulate(stage.steps for stage in self._stages))
        for stage, end in zip(self._stages, ends, strict=True):
            if self.step < end:
                return stage, 1.0 - (end - self.step) / stage.steps
        raise ValueError(f"the curriculum ends after {ends[-1]} steps")

    def _learn(self, batch: Batch) -> tuple[float, float]:
        wanted = batch.learn[:, 1:]
        targets = batch.tokens[:, 1:][wanted]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.network.hidden(batch.tokens, batch.positions)[:, :-1][wanted]
            logits = self.network.logits(hidden)
        loss = functional.cross_entropy(logits.float(), targets)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        return loss.item(), (logits.argmax(-1) == targets).float().mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the training from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model and checkpoint directory")
    parser.add_argument("--resume", action="store_true", help="continue from OUT/checkpoint.pt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    tokenizer = build_tokenizer(training_texts())
    shape = ReaderShape(vocab_size=tokenizer.get_vocab_size())
    trainer = Trainer(shape=shape, tokenizer=tokenizer, seed=options.seed)
    checkpoint = options.out / "checkpoint.pt"
    if options.resume:
        trainer.load(checkpoint)
    save_tokenizer(tokenizer, options.out / "model", max_length=shape.max_position_embeddings)
    seen: defaultdict[str, list[float]] = defaultdict(list)
    began = time.monotonic()
    while trainer.step < trainer.total_steps:
        kind, _, accuracy = trainer.advance()
        seen[kind].append(accuracy)
        if trainer.step % 50 == 0:
            figures = {name: f"{sum(v) / len(v):.3f}" for name, v in seen.items()}
            _LOG.info("step %d, %.0f s: %s", trainer.step, time.monotonic() - began, figures)
            seen.clear()
        if trainer.step % options.save_every == 0 or trainer.step == trainer.total_steps:
            trainer.save(checkpoint)
            save_model(trainer.network, options.out / "model")


if __name__ == "__main__":
    main()
