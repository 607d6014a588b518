"""Seeded synthetic worlds: entities with attributes, and documents that state them.

A world is what the reader is trained and judged on, and what the demo retrieves from. Names are
split by a stable hash: a held-out world shares no name with any world the reader was trained on.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stream2llm_rag.reader._words import ATTRIBUTES, ENDS, FILLERS, MIDDLES, STARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Split = Literal["train", "held_out"]

STATEMENTS: tuple[str, ...] = (
    "The {attribute} of {entity} is {value}.",
    "{entity}'s {attribute} is {value}.",
    "In {entity}, the {attribute} is {value}.",
    "People say that the {attribute} of {entity} is {value}.",
    "As for the {attribute} of {entity}, it is {value}.",
    "{value} is the {attribute} of {entity}.",
    "{entity} has {value} as its {attribute}.",
)
"""Ways to state a fact; the first is the plain one, in whose words the reader answers."""

_HELD_OUT_SHARE = 8


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One attribute of one entity."""

    attribute: str
    entity: str
    value: str

    @property
    def question(self) -> str:
        """The question this fact answers."""
        return f"What is the {self.attribute} of {self.entity}?"

    @property
    def statement(self) -> str:
        """The fact in plain words, which is also the reader's answer."""
        return STATEMENTS[0].format(**vars(self))


@dataclass(frozen=True, kw_only=True)
class WorldDocument:
    """A document about one entity: a few facts among sentences that state none."""

    id: str
    title: str
    text: str
    facts: tuple[Fact, ...]


def split_of(name: str) -> Split:
    """Says whether a name belongs to training or to the held-out worlds."""
    return "held_out" if zlib.crc32(name.encode()) % _HELD_OUT_SHARE == 0 else "train"


def draw_name(rng: random.Random, split: Split) -> str:
    """Draws a name of two or three syllables from one side of the split."""
    while True:
        middle = rng.choice(MIDDLES) if rng.random() < 0.5 else ""
        name = rng.choice(STARTS) + middle + rng.choice(ENDS)
        if split_of(name) == split:
            return name


class World:
    """A set of entities with one document each; the same arguments give the same world.

    Args:
        seed: Seed of everything drawn.
        entities: How many entities, and so documents, the world has.
        facts: Least and greatest number of facts in a document.
        fillers: Least and greatest number of sentences in a document that state no fact.
        split: Which names are used; ``"held_out"`` ones were never seen in training.
        plain: Whether facts are stated in the plain words only.
        names: Draws an entity or value instead of the syllables of the split.
        attributes: What facts are about.
    """

    def __init__(
        self,
        *,
        seed: int,
        entities: int = 64,
        facts: tuple[int, int] = (3, 5),
        fillers: tuple[int, int] = (0, 3),
        split: Split = "held_out",
        plain: bool = True,
        names: Callable[[random.Random], str] | None = None,
        attributes: Sequence[str] = ATTRIBUTES,
    ) -> None:
        self._rng = random.Random(f"world-{split}-{seed}")
        self._fillers = fillers
        self._names = names or (lambda rng: draw_name(rng, split))
        self._attributes = attributes
        self._statements = STATEMENTS[:1] if plain else STATEMENTS
        drawn: dict[str, None] = {}
        while len(drawn) < entities:
            drawn[self._names(self._rng)] = None
        self.documents: tuple[WorldDocument, ...] = tuple(
            self._document(f"{name.lower()}-0", name, self._facts(name, self._rng.randint(*facts)))
            for name in drawn
        )

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Every fact of every document, in document order."""
        return tuple(fact for document in self.documents for fact in document.facts)

    def revise(self, document: WorldDocument) -> WorldDocument:
        """Returns a newer version of a document: the same attributes with other values.

        Drawn from the world's own stream of randomness, so the result depends on the calls before
        it.
        """
        facts = tuple(
            Fact(attribute=old.attribute, entity=old.entity, value=self._value_other_than(old))
            for old in document.facts
        )
        stem, version = document.id.rsplit("-", 1)
        return self._document(f"{stem}-{int(version) + 1}", document.title, facts)

    def _facts(self, entity: str, count: int) -> tuple[Fact, ...]:
        return tuple(
            Fact(attribute=attribute, entity=entity, value=self._names(self._rng))
            for attribute in self._rng.sample(self._attributes, count)
        )

    def _value_other_than(self, old: Fact) -> str:
        while (value := self._names(self._rng)) == old.value:
            pass
        return value

    def _document(self, key: str, entity: str, facts: tuple[Fact, ...]) -> WorldDocument:
        rng = self._rng
        sentences = [rng.choice(self._statements).format(**vars(fact)) for fact in facts]
        for filler in rng.sample(FILLERS, rng.randint(*self._fillers)):
            sentences.insert(rng.randint(0, len(sentences)), filler.format(name=entity))
        return WorldDocument(id=key, title=entity, text=" ".join(sentences), facts=facts)
