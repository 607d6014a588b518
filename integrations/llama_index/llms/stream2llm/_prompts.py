"""The prompts of one answer: complete, or with nodes that are still arriving."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from llama_index.llms.stream2llm._messages import as_conversation, fill_in
from stream2llm_engine.errors import PromptTooLongError
from stream2llm_rag.prompt import (
    SENTINEL,
    AppendTokens,
    PromptAssembler,
    ReplaceTokens,
    Unchanged,
    render_chat_template,
    send_delta,
    split_chat_template,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.base.llms.types import ChatMessage

    from llama_index.llms.stream2llm._live_nodes import LiveNodes
    from stream2llm_engine import StreamSession
    from stream2llm_rag.documents import Document

__all__ = ["ChatPrompt", "LivePrompt", "Prompt", "TextPrompt"]

_logger = logging.getLogger(__name__)


class Prompt(Protocol):
    """Something to be answered. Tokenising takes its time, so it is done in threads."""

    async def send(
        self, session: StreamSession, tokenizer: Any, max_prompt_tokens: int
    ) -> list[int]:
        """Sends what has to be computed early and returns the tokens that complete the prompt."""
        ...

    def details(self) -> dict[str, Any]:
        """Returns what there is to report about the prompt."""
        ...


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Text that is already formatted for the model."""

    text: str

    async def send(
        self, session: StreamSession, tokenizer: Any, max_prompt_tokens: int
    ) -> list[int]:
        """Returns the text's tokens, with the BOS token once if the model has one."""
        del session, max_prompt_tokens
        has_bos = bool(tokenizer.bos_token) and self.text.startswith(tokenizer.bos_token)
        encode = partial(tokenizer.encode, self.text, add_special_tokens=not has_bos)
        return list(await asyncio.to_thread(encode))

    def details(self) -> dict[str, Any]:
        """Returns nothing."""
        return {}


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation for the model's chat template."""

    messages: Sequence[ChatMessage]
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    async def send(
        self, session: StreamSession, tokenizer: Any, max_prompt_tokens: int
    ) -> list[int]:
        """Returns the conversation's tokens."""
        del session, max_prompt_tokens
        return await asyncio.to_thread(self._token_ids, tokenizer)

    def details(self) -> dict[str, Any]:
        """Returns nothing."""
        return {}

    def _token_ids(self, tokenizer: Any) -> list[int]:
        conversation = as_conversation(self.messages)
        text = render_chat_template(tokenizer, conversation, **self.template_kwargs)
        return list(tokenizer.encode(text, add_special_tokens=False))


@dataclass(slots=True)
class LivePrompt:
    """A conversation in which ``SENTINEL`` stands for nodes that are still arriving.

    When they are complete their text takes its place in the messages, so that observers of the
    model see at the end what was asked.
    """

    messages: Sequence[ChatMessage]
    live: LiveNodes
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    _details: dict[str, Any] = field(default_factory=dict)

    async def send(
        self, session: StreamSession, tokenizer: Any, max_prompt_tokens: int
    ) -> list[int]:
        """Sends the nodes as they arrive and returns the tokens behind them."""
        started = time.monotonic()
        assembler = await asyncio.to_thread(self._assembler, tokenizer, max_prompt_tokens)
        if assembler.prefix_ids:
            await session.append(assembler.prefix_ids)
        # Whether the session holds tokens of a prompt that is now empty, which a session cannot be.
        stale = False
        async for event in self.live.context:
            delta = await asyncio.to_thread(assembler.apply, event)
            if delta == ReplaceTokens([]):
                stale = True
                continue
            if stale and isinstance(delta, AppendTokens):
                delta = ReplaceTokens(delta.ids)
            stale = stale and isinstance(delta, Unchanged)
            await send_delta(session, delta)
        self._settle(assembler)
        self._details["retrieval_s"] = time.monotonic() - started
        if not stale:
            return assembler.suffix_ids
        await session.update(assembler.suffix_ids[:1])
        return assembler.suffix_ids[1:]

    def details(self) -> dict[str, Any]:
        """Returns how long the retrieval took and which nodes did not fit."""
        return self._details

    def _assembler(self, tokenizer: Any, max_prompt_tokens: int) -> PromptAssembler:
        if max_prompt_tokens < 1:
            msg = (
                "max_tokens leaves no room for a prompt in the model's context window:"
                " lower it, or raise max_model_len"
            )
            raise PromptTooLongError(msg)
        prefix, suffix = split_chat_template(
            tokenizer, as_conversation(self.messages), **self.template_kwargs
        )
        return PromptAssembler(
            tokenizer,
            prefix,
            suffix,
            _text,
            order=self.live.order,
            separator=self.live.separator,
            max_prompt_tokens=max_prompt_tokens,
        )

    def _settle(self, assembler: PromptAssembler) -> None:
        left_out = [document.id for document in assembler.left_out]
        if left_out:
            _logger.warning(
                "nodes %s do not fit into the model's context window and are left out: "
                "retrieve less, lower max_tokens or raise max_model_len",
                left_out,
            )
        self._details["left_out"] = left_out
        self.live.leave_out(set(left_out))
        context = self.live.separator.join(map(_text, assembler.documents))
        fill_in(self.messages, SENTINEL, context)


def _text(document: Document) -> str:
    return document.text
