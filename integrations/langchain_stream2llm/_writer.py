"""One answer on its way from the engine to LangChain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_stream2llm._chunks import output_chunk
from stream2llm_engine.answers import AnswerDelta

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk

    from stream2llm_engine import StreamOutput
    from stream2llm_engine.vllm_adapter.answer_parsing import AnswerReader

__all__ = ["AnswerWriter"]


class AnswerWriter:
    """Turns the outputs of one answer into chunks.

    Args:
        reader: Finds tool calls and reasoning; None for an answer that is text only.
        top_logprobs: See ``output_chunk``.

    Attributes:
        finish_reason: Why the answer ended, once it has.
        last: The chunk of its last output.
    """

    def __init__(self, reader: AnswerReader | None, *, top_logprobs: int | None) -> None:
        self.finish_reason: str | None = None
        self.last: ChatGenerationChunk | None = None
        self._reader = reader
        self._top_logprobs = top_logprobs
        self._calls_tools = False

    def write(self, output: StreamOutput) -> ChatGenerationChunk | None:
        """Returns the chunk of an output, if that brings anything and is not the last one."""
        read = self._reader.read if self._reader else _as_text
        delta = read(output)
        self._calls_tools |= bool(delta.tool_calls)
        chunk = output_chunk(output, delta, top_logprobs=self._top_logprobs)
        if output.finish_reason is not None:
            ends_in_call = self._calls_tools and output.finish_reason == "stop"
            self.finish_reason = "tool_calls" if ends_in_call else output.finish_reason
            self.last = chunk
            return None
        return chunk if delta or chunk.message.response_metadata else None

    @property
    def reasoning_tokens(self) -> int | None:
        """How many tokens so far are reasoning; None if that is not known."""
        return None if self._reader is None else self._reader.reasoning_tokens


def _as_text(output: StreamOutput) -> AnswerDelta:
    return AnswerDelta(text=output.text)
