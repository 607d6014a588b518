"""Prompt assembly: one token list, whether the context streams in or is complete at once.

The prompt is prefix + documents with separators between them + suffix. Every one of these segments
is tokenised on its own, in streaming and in blocking mode alike, and the documents' order and the
budget depend only on the events, so both modes produce the same tokens by construction.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from stream2llm_engine.errors import PromptTooLongError
from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update
from stream2llm_rag.prompt._delta import AppendTokens, PromptDelta, ReplaceTokens, Unchanged
from stream2llm_rag.prompt._encoding import (
    Tokenizer,
    encode_data,
    encode_markup,
    special_token_pattern,
)
from stream2llm_rag.prompt._order import DocumentOrder, ordered_after

__all__ = ["PromptAssembler"]


class _Layout(NamedTuple):
    """The documents that are in the prompt, how each is rendered, and those that did not fit."""

    included: tuple[Document, ...] = ()
    rendered: tuple[str, ...] = ()
    left_out: tuple[Document, ...] = ()


class PromptAssembler:
    """The prompt of one request.

    Args:
        tokenizer: The model's Hugging Face tokenizer.
        prefix: Text before the documents, with whatever the chat template starts with (BOS
            included).
        suffix: Text behind them: the question and the template's generation tail.
        render: Turns a document into its text in the prompt.
        order: Where documents stand, see ``RagPrompt``.
        separator: Text between two documents.
        max_prompt_tokens: Upper bound of the whole prompt. Walking the documents in prompt order,
            one that does not fit into what is left is left out; which ones is recorded in
            ``left_out``. None means no bound.

    Raises:
        PromptTooLongError: Prefix and suffix alone exceed ``max_prompt_tokens``.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prefix: str,
        suffix: str,
        render: Callable[[Document], str],
        *,
        order: DocumentOrder = "stable",
        separator: str = "\n\n",
        max_prompt_tokens: int | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._special = special_token_pattern(tokenizer)
        self._prefix_ids = encode_markup(tokenizer, prefix)
        self._suffix_ids = encode_markup(tokenizer, suffix)
        self._separator_ids = encode_markup(tokenizer, separator)
        self._render = render
        self._order: DocumentOrder = order
        self._token_cache: dict[str, list[int]] = {}
        self._candidates: tuple[Document, ...] = ()
        self._layout = _Layout()
        self._room = _room_for_documents(
            max_prompt_tokens, len(self._prefix_ids) + len(self._suffix_ids)
        )

    @property
    def prefix_ids(self) -> list[int]:
        """Tokens before the documents."""
        return list(self._prefix_ids)

    @property
    def suffix_ids(self) -> list[int]:
        """Tokens behind the documents, sent with ``session.finalize``."""
        return list(self._suffix_ids)

    @property
    def documents(self) -> tuple[Document, ...]:
        """The documents that are in the prompt, in prompt order."""
        return self._layout.included

    @property
    def left_out(self) -> tuple[Document, ...]:
        """The documents that did not fit into ``max_prompt_tokens``, in prompt order."""
        return self._layout.left_out

    def apply(self, event: Append | Update) -> PromptDelta:
        """Takes an event in and says what it does to the tokens of the open prompt."""
        self._candidates = ordered_after(self._candidates, event, self._order)
        before, self._layout = self._layout, self._lay_out(self._candidates)
        kept = len(before.rendered)
        if self._layout.rendered == before.rendered:
            return Unchanged()
        if self._layout.rendered[:kept] == before.rendered:
            grown = self._join(self._layout.rendered[kept:], first=kept == 0)
            return AppendTokens(grown) if grown else Unchanged()
        return ReplaceTokens(self.open_ids())

    def open_ids(self) -> list[int]:
        """The prompt so far, without the suffix."""
        return self._prefix_ids + self._join(self._layout.rendered)

    def final_ids(self) -> list[int]:
        """The whole prompt for the events applied so far."""
        return self.open_ids() + self._suffix_ids

    def one_shot_ids(self, documents: Iterable[Document]) -> list[int]:
        """The whole prompt for documents given at once, in prompt order, whatever was applied."""
        rendered = self._lay_out(tuple(documents)).rendered
        return self._prefix_ids + self._join(rendered) + self._suffix_ids

    def _lay_out(self, candidates: tuple[Document, ...]) -> _Layout:
        included: list[Document] = []
        rendered: list[str] = []
        left_out: list[Document] = []
        room = self._room
        for document in candidates:
            text = self._render(document)
            cost = len(self._ids(text)) + (len(self._separator_ids) if included else 0)
            if room is not None and cost > room:
                left_out.append(document)
                continue
            room = None if room is None else room - cost
            included.append(document)
            rendered.append(text)
        return _Layout(tuple(included), tuple(rendered), tuple(left_out))

    def _join(self, rendered: Iterable[str], *, first: bool = True) -> list[int]:
        ids: list[int] = []
        for text in rendered:
            if not first:
                ids += self._separator_ids
            ids += self._ids(text)
            first = False
        return ids

    def _ids(self, text: str) -> list[int]:
        if text not in self._token_cache:
            self._token_cache[text] = encode_data(self._tokenizer, text, self._special)
        return self._token_cache[text]


def _room_for_documents(max_prompt_tokens: int | None, fixed: int) -> int | None:
    if max_prompt_tokens is None:
        return None
    if fixed > max_prompt_tokens:
        msg = (
            f"the prompt without any document has {fixed} tokens,"
            f" more than max_prompt_tokens={max_prompt_tokens};"
            " shorten the instructions or the question"
        )
        raise PromptTooLongError(msg)
    return max_prompt_tokens - fixed
