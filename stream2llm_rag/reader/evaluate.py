"""Measures the reader on held-out worlds: ``python -m stream2llm_rag.reader.evaluate --json OUT``.

An answer counts when greedy decoding gives exactly the expected sentence and then stops. That is
the case if and only if every token of the sentence is the most likely one after the true tokens
before it, so one forward pass per question decides it, without generating.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from stream2llm_rag.reader import prompts
from stream2llm_rag.reader._model import reader_model
from stream2llm_rag.reader.prompts import Wording
from stream2llm_rag.reader.world import Fact, World, WorldDocument

UNSEEN_PROMPT = Wording(
    system="You are a careful librarian. Reply with a full sentence.",
    document="Passage {index} ({title})\n{text}\n\n",
    question="Using the passages above, answer: {question}",
)
"""A prompt in words that training never used."""

Case = tuple[Sequence[WorldDocument], Fact, str]
"""Documents, the fact asked for, and the expected answer."""


def answerable(*, seed: int, documents: int, count: int, plain: bool = True) -> Iterator[Case]:
    """Yields questions that one of the documents answers, each about a world of its own.

    Args:
        seed: Seed of the worlds.
        documents: Documents in each context.
        count: How many questions.
        plain: Whether facts are stated in the plain words only.
    """
    rng = random.Random(seed)
    for _ in range(count):
        world = World(seed=rng.getrandbits(48), entities=documents, plain=plain)
        fact = rng.choice(world.facts)
        yield world.documents, fact, fact.statement


def unanswerable(*, seed: int, documents: int, count: int) -> Iterator[Case]:
    """Yields questions whose document is not in the context; arguments as for `answerable`."""
    rng = random.Random(seed)
    for _ in range(count):
        world = World(seed=rng.getrandbits(48), entities=documents + 1)
        removed, *rest = world.documents
        fact = rng.choice(removed.facts)
        yield rest, fact, prompts.ABSENT.format(attribute=fact.attribute, entity=fact.entity)


class Examiner:
    """Asks a model.

    Args:
        directory: Model directory, loaded with Transformers in float32.
    """

    def __init__(self, directory: Path) -> None:
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(directory)
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32
        ).eval()

    def right(self, case: Case, wording: Wording = prompts.DEFAULT_WORDING) -> tuple[bool, int]:
        """Asks one question.

        Returns:
            Whether greedy decoding gives the expected answer, and the prompt's length in tokens.
        """
        documents, fact, expected = case
        prompt: list[int] = self._tokenizer.encode(self.prompt(documents, fact.question, wording))
        answer: list[int] = self._tokenizer.encode(expected + self._tokenizer.eos_token)
        with torch.inference_mode():
            logits = self._model(
                torch.tensor([prompt + answer]), logits_to_keep=len(answer) + 1, use_cache=False
            ).logits
        return logits[0, :-1].argmax(-1).tolist() == answer, len(prompt)

    def prompt(
        self,
        documents: Sequence[WorldDocument],
        question: str,
        wording: Wording = prompts.DEFAULT_WORDING,
    ) -> str:
        """Renders the prompt through the tokenizer's chat template."""
        context = "".join(
            wording.document.format(index=index, title=document.title, text=document.text)
            for index, document in enumerate(documents, start=1)
        )
        messages = [
            {"role": "system", "content": wording.system},
            {"role": "user", "content": context + wording.question.format(question=question)},
        ]
        text: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return text

    def share(
        self, cases: Iterator[Case], wording: Wording = prompts.DEFAULT_WORDING
    ) -> dict[str, float]:
        """Asks all cases.

        Returns:
            ``accuracy``, the share answered as expected, with ``questions`` and
            ``mean_prompt_tokens``.
        """
        results = [self.right(case, wording) for case in cases]
        return {
            "accuracy": sum(good for good, _ in results) / len(results),
            "questions": len(results),
            "mean_prompt_tokens": round(sum(length for _, length in results) / len(results), 1),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the evaluation from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=reader_model(), help="model directory")
    parser.add_argument("--documents", type=int, nargs="+", default=[2, 8, 20, 40])
    parser.add_argument("--questions", type=int, default=200, help="questions per figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)

    examiner = Examiner(options.model)
    asked = {"seed": options.seed, "count": options.questions}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for documents in options.documents:
        figures[str(documents)] = {
            "plain": examiner.share(answerable(documents=documents, **asked)),
            "unseen_prompt": examiner.share(
                answerable(documents=documents, **asked), UNSEEN_PROMPT
            ),
            "varied": examiner.share(answerable(documents=documents, plain=False, **asked)),
            "absent": examiner.share(unanswerable(documents=documents, **asked)),
        }
        print(documents, "documents:", json.dumps(figures[str(documents)]), flush=True)
    report = {
        "command": " ".join(
            ["python -m stream2llm_rag.reader.evaluate", *(arguments or sys.argv[1:])]
        ),
        "by_documents": figures,
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "machine": platform.machine(),
        },
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
