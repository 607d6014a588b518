"""Tokens of simulated prompts.

No model reads them. They only have to be equal where two prompts hold the same text, and different
everywhere else, so ids may exceed any vocabulary.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream2llm_engine.simulator import PromptEvent

__all__ = ["TokenSpace", "document_sizes", "prompt_events", "question_ids", "template_ids"]

_QUESTION_BASE = 1_000_000
_DOCUMENT_BASE = 2_000_000
_Id = TypeVar("_Id", bound=Hashable)


def template_ids(tokens: int) -> list[int]:
    """Returns what every prompt starts with."""
    return list(range(tokens))


def question_ids(tokens: int) -> list[int]:
    """Returns what every prompt ends with; a question is never looked at before its context."""
    return list(range(_QUESTION_BASE, _QUESTION_BASE + tokens))


class TokenSpace:
    """Gives every document tokens of its own."""

    def __init__(self) -> None:
        self._next = _DOCUMENT_BASE

    def document(self, tokens: int) -> list[int]:
        """Returns the ids of a document that no other call returns."""
        ids = list(range(self._next, self._next + tokens))
        self._next += tokens
        return ids


def document_sizes(
    weights: NDArray[np.float64], counted: Sequence[int], total: int
) -> NDArray[np.int64]:
    """Scales weights to token counts of at least 1.

    Args:
        weights: One weight for each document.
        counted: The documents that together have ``total`` tokens. The others get the same scale,
            but none of them gets more than all of these.
        total: Tokens to share out; less than one a document is raised to that.
    """
    spare = max(total - len(counted), 0)
    shares = np.minimum(weights / weights[counted].sum(), 1.0) * spare
    sizes: NDArray[np.int64] = 1 + shares.astype(np.int64)
    rounded_off = len(counted) + spare - int(sizes[counted].sum())
    sizes[counted[:rounded_off]] += 1
    return sizes


def prompt_events(
    delays_s: Sequence[float],
    orders: Sequence[Sequence[_Id]],
    documents: Mapping[_Id, list[int]],
    template: list[int],
) -> list[PromptEvent]:
    """Turns the prompt orders of a context into changes to the tokens, as the pipeline sends them.

    A prompt that only grows is appended to, an equal one gets an append of no token: it still takes
    its time and can be the last.

    Args:
        delays_s: Seconds since the event before, or since the arrival of the query.
        orders: The documents in the prompt after each event, in prompt order.
        documents: The tokens of each document.
        template: Tokens before the documents, sent with the first event.
    """
    events: list[PromptEvent] = []
    before: list[_Id] = []
    for delay_s, order in zip(delays_s, orders, strict=True):
        after = list(order)
        grows = after[: len(before)] == before
        added = after[len(before) :] if grows else after
        tokens = [] if events and grows else template.copy()
        for name in added:
            tokens += documents[name]
        events.append(PromptEvent(delay_s=delay_s, token_ids=tokens, replace=not grows))
        before = after
    return events
