"""Names and attributes of any shape, so that reading does not rest on the worlds' syllables."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from stream2llm_rag.reader.world import draw_name

if TYPE_CHECKING:
    import random

_ADJECTIVES = ("New", "Old", "Upper", "Lower", "Great", "Little", "North", "South", "Saint", "Port")
_KINDS = ("Valley", "Union", "City", "Bay", "Bridge", "College", "Station", "Hall", "Company")
_UNITS = ("km", "m", "years", "percent", "people", "million", "kg", "euros")


def wild_name(rng: random.Random) -> str:
    """Draws a name: one or several words, a number, a code, or any letters."""
    name = draw_name(rng, "train")
    return rng.choice(
        (
            f"{name} {draw_name(rng, 'train')}",
            f"{rng.choice(_ADJECTIVES)} {name}",
            f"{name} {rng.choice(_KINDS)}",
            f"{name}-{draw_name(rng, 'train')}",
            name.lower(),
            str(rng.randint(1, 10 ** rng.randint(1, 5))),
            f"{rng.randint(1, 9999)} {rng.choice(_UNITS)}",
            f"{_letters(rng, 3).upper()}-{rng.randint(1, 99)}",
            _letters(rng, 8),
            f"{_letters(rng, 6).capitalize()} {_letters(rng, 6).capitalize()}",
        )
    )


def wild_attribute(rng: random.Random) -> str:
    """Draws an attribute of one or two made-up words."""
    return " ".join(_letters(rng, 9) for _ in range(rng.randint(1, 2)))


def _letters(rng: random.Random, most: int) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, most)))
