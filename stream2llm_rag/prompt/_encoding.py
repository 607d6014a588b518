"""Tokenising one prompt segment on its own."""

import re
from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

__all__ = ["Tokenizer", "encode_data", "encode_markup", "special_token_pattern"]


# Some models have thousands of special tokens, too many to compile for every request.
_patterns: "WeakKeyDictionary[Tokenizer, re.Pattern[str] | None]" = WeakKeyDictionary()


class Tokenizer(Protocol):
    """What prompt assembly needs of a Hugging Face tokenizer."""

    chat_template: Any
    bos_token: Any
    bos_token_id: int | None
    added_tokens_decoder: dict[int, Any]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Returns the token ids of ``text``."""
        ...

    def apply_chat_template(
        self, conversation: Sequence[Any], *, tokenize: bool, **kwargs: Any
    ) -> Any:
        """Renders ``conversation`` with the model's chat template."""
        ...


def encode_markup(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokenises trusted text, in which special tokens such as ``<|im_end|>`` are control tokens."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def encode_data(tokenizer: Tokenizer, text: str, special: re.Pattern[str] | None) -> list[int]:
    """Tokenises retrieved text, in which a special token's spelling stays ordinary text.

    Retrieved documents are data: a page that contains ``<|im_end|>`` must not end the user's turn.
    The tokenizer's own switch for this changes shared state and is not thread-safe, so the spelling
    is broken up instead.
    """
    if special is None:
        return encode_markup(tokenizer, text)
    ids: list[int] = []
    start = 0
    while match := special.search(text, start):
        cut = match.start() + 1
        ids += encode_markup(tokenizer, text[start:cut])
        start = cut
    return ids + encode_markup(tokenizer, text[start:])


def special_token_pattern(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """Returns what ``encode_data`` has to break up; None if there are no special tokens."""
    if tokenizer not in _patterns:
        _patterns[tokenizer] = _compile_special_tokens(tokenizer)
    return _patterns[tokenizer]


def _compile_special_tokens(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    spellings = {
        str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special
    }
    if not spellings:
        return None
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
    return re.compile("|".join(map(re.escape, longest_first)))
