"""Training sequences of text: documents, then questions about them with their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stream2llm_rag.reader import prompts
from stream2llm_rag.reader._words import ATTRIBUTES
from stream2llm_rag.reader.copying import Sequence as TrainingSequence
from stream2llm_rag.reader.tokenizer import ASSISTANT, END, SYSTEM, USER
from stream2llm_rag.reader.wild import wild_attribute, wild_name
from stream2llm_rag.reader.world import Fact, World, WorldDocument, draw_name

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from tokenizers import Tokenizer

_MOST_CONTEXT = 0.6
"""Share of a sequence after which no further document is added."""


@dataclass(frozen=True, kw_only=True)
class ConversationMix:
    """What the conversations of one stage of training are drawn from."""

    documents: tuple[int, int]
    plain: float = 1.0
    """Share of worlds in which every fact is stated in the plain words."""
    varied_prompts: float = 0.5
    """Share of prompts whose fixed texts are not the default ones."""
    absent: float = 0.0
    """Share of questions that no document answers."""
    wild: float = 0.0
    """Share of worlds with names and attributes of any shape."""


def conversation(
    rng: random.Random, tokenizer: Tokenizer, mix: ConversationMix, length: int
) -> TrainingSequence:
    """Draws a conversation over one world; all its answers are learned.

    The first question follows the documents, later ones come as further turns: many questions for
    one reading of the context make the most of the tokens.

    Args:
        rng: Source of randomness.
        tokenizer: The reader's tokenizer.
        mix: What to draw from.
        length: Tokens in the sequence; the last turn is cut there.

    Returns:
        The sequence, with its breaks between documents.
    """
    plan = _Plan(rng, varied=rng.random() < mix.varied_prompts)
    tokens: list[int] = []
    learn: list[bool] = []
    breaks: list[int] = []

    def add(text: str, *, learned: bool = False) -> None:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens.extend(ids)
        learn.extend([learned] * len(ids))

    add(plan.opening())
    documents: list[WorldDocument] = []
    for index, document in enumerate(_world(rng, mix).documents, start=1):
        add(plan.document(index, document))
        breaks.append(len(tokens))
        documents.append(document)
        if len(tokens) > length * _MOST_CONTEXT:
            break
    questions = _questions(rng, documents, mix)
    first = True
    while len(tokens) < length:
        fact, answer = next(questions)
        add(plan.turn(fact, first=first))
        add(f"{answer}{END}", learned=True)
        add("\n")
        first = False
    return TrainingSequence(
        tokens=np.array(tokens[:length], dtype=np.int64),
        learn=np.array(learn[:length], dtype=np.bool_),
        breaks=np.array([place for place in breaks if place < length], dtype=np.int64),
    )


def _world(rng: random.Random, mix: ConversationMix) -> World:
    wild = rng.random() < mix.wild
    return World(
        seed=rng.getrandbits(48),
        entities=rng.randint(*mix.documents),
        facts=rng.choice(((1, 3), (3, 5), (3, 5), (4, 8))),
        fillers=rng.choice(((0, 0), (0, 3), (1, 4))),
        split="train",
        plain=rng.random() < mix.plain,
        names=wild_name if wild else None,
        attributes=[*{wild_attribute(rng) for _ in range(24)}] if wild else ATTRIBUTES,
    )


def _questions(
    rng: random.Random, documents: Sequence[WorldDocument], mix: ConversationMix
) -> Iterator[tuple[Fact, str]]:
    facts = [fact for document in documents for fact in document.facts]
    while True:
        # Every fact before any again: an earlier answer would give the later one away.
        for fact in rng.sample(facts, len(facts)):
            if rng.random() < mix.absent:
                missing = _missing(rng, documents)
                yield missing, prompts.ABSENT.format(**vars(missing))
            yield fact, fact.statement


def _missing(rng: random.Random, documents: Sequence[WorldDocument]) -> Fact:
    # Half of these ask a known entity for an attribute that its document does not state.
    document = rng.choice(documents)
    known = rng.random() < 0.5
    stated = {fact.attribute for fact in document.facts} if known else set()
    return Fact(
        attribute=rng.choice([word for word in ATTRIBUTES if word not in stated]),
        entity=document.title if known else draw_name(rng, "train"),
        value="",
    )


class _Plan:
    """The fixed texts of one conversation."""

    def __init__(self, rng: random.Random, *, varied: bool) -> None:
        self._system: str | None = prompts.SYSTEM_TEXT
        self._instructions = ""
        self._document = rng.choice(prompts.DOCUMENT_TEMPLATES[:2])
        self._question = prompts.QUESTION_TEMPLATE
        if varied:
            self._system = rng.choice((None, *prompts.SYSTEM_TEXTS))
            self._instructions = rng.choice(prompts.INSTRUCTIONS)
            self._document = rng.choice(prompts.DOCUMENT_TEMPLATES)
            self._question = rng.choice(prompts.QUESTION_TEMPLATES)

    def opening(self) -> str:
        system = "" if self._system is None else f"{SYSTEM}\n{self._system}{END}\n"
        return f"{system}{USER}\n{self._instructions}"

    def document(self, index: int, document: WorldDocument) -> str:
        return self._document.format(index=index, title=document.title, text=document.text)

    def turn(self, fact: Fact, *, first: bool) -> str:
        question = self._question.format(question=fact.question)
        return f"{'' if first else f'{USER}{chr(10)}'}{question}{END}\n{ASSISTANT}\n"
