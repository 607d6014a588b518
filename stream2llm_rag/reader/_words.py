"""The words of the synthetic worlds: syllables, attributes, and sentences that state no fact."""

from __future__ import annotations

_ONSETS = """
    B Br C Cr D Dr F Fl G Gr H J K Kl L M N P Pr R S Sh St T Tr V W Z
"""
_VOWELS = "a e i o u ae"
_MIDDLES = """
    ba bi da do fa ga go ka ki la le li lo ma mi mo na ne ni no ra re ri ro sa se ta te ti va vi
    za
"""
_ENDS = """
    bar berg born by cour dale dar den dor dris fell field ford gard gate gorn grad ham haven
    holm horn keth kirk land lane leth lin lis lund mar mark mere mond mont mouth nak nell nia
    nor noth phel pol port quin ran rath reth rin ros rune sin sk stad stan stead tan tessin
    thal then thorn ton tor vale var vik ville ward wick wyn xan yard zel zin
"""
_ATTRIBUTES = """
    admiral ally anthem architect bird bridge capital castle composer currency dance desert dish
    drink emblem festival flower forest founder fruit garden guardian harbour island king lake
    language legend library mayor mountain museum newspaper painter patron poet queen railway
    river rival saint song stone sword symbol teacher temple theatre tower tree university
    valley village wine
"""

STARTS: tuple[str, ...] = tuple(
    onset + vowel for onset in _ONSETS.split() for vowel in _VOWELS.split()
)
"""First syllables of names."""

MIDDLES: tuple[str, ...] = tuple(_MIDDLES.split())
"""Inner syllables, in about half of the names."""

ENDS: tuple[str, ...] = tuple(_ENDS.split())
"""Last syllables of names."""

ATTRIBUTES: tuple[str, ...] = tuple(_ATTRIBUTES.split())
"""What can be asked of an entity; each is one token of the reader's tokenizer."""

FILLERS: tuple[str, ...] = (
    "Travellers reach {name} by the old coast road.",
    "Most visitors to {name} arrive in early summer.",
    "The weather in {name} changes quickly in autumn.",
    "Little has been written about the early years of {name}.",
    "The people of {name} are known for their patience.",
    "A small guide to {name} is sold at every station.",
    "Winters in {name} are long, and the snow stays until April.",
    "The roads around {name} were repaired after the great flood.",
    "Several families from {name} still trade in wool and salt.",
    "Students come to {name} to read the old letters.",
    "Maps of {name} were rare before the war.",
    "The markets of {name} open before sunrise.",
    "Nobody remembers who first settled in {name}.",
    "Farmers near {name} grow barley, beans and flax.",
    "The archive of {name} holds about nine hundred books.",
    "It is said that {name} never sleeps.",
    "This page was last changed in March.",
    "The figures below have not been checked.",
    "More about this can be found in the second volume.",
    "Prices have risen a little since then.",
    "The story is told in many different ways.",
    "Some of the records were lost in a fire.",
    "Opening hours may vary on public holidays.",
    "A longer account appears in the yearly report.",
    "Not every source agrees on the details.",
    "The council meets on the first Monday of the month.",
    "Trains run twice a day, and once on Sundays.",
    "The text that follows was translated from an older edition.",
    "Bread, fish and apples are cheap there.",
    "Much of the land is covered with grass and low hills.",
    "There are no large factories in the region.",
    "The school was rebuilt with money from abroad.",
    "Visitors should bring warm clothes and good shoes.",
    "Please report errors to the editors.",
    "The next section describes the local customs.",
    "Children learn this at school.",
)
"""Sentences that state no fact of a world; ``{name}`` is an entity."""
