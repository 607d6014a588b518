"""An answer as far as it goes, and as LlamaIndex's responses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LogProb,
    MessageRole,
    TextBlock,
)

from llama_index.llms.stream2llm._sampling import log_probs
from llama_index.llms.stream2llm._tools import ToolCalls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_engine import StreamOutput
    from stream2llm_engine.answers import AnswerDelta

__all__ = ["Piece", "Pieces"]

# Not there in the oldest supported LlamaIndex, which then gets the answer without the reasoning.
_ThinkingBlock = getattr(types, "ThinkingBlock", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An answer as far as it goes; only the last piece has ``raw`` and ``usage``.

    Attributes:
        text: The answer so far, without reasoning and tool calls.
        delta: What came last of it.
        reasoning: The reasoning before the answer.
        tool_calls: Calls in OpenAI's form; the arguments of the last one may be incomplete.
        logprobs: Log-probabilities by place, if they were asked for.
        raw: Everything else there is to say about the answer.
        usage: Token counts as OpenAI names them.
    """

    text: str = ""
    delta: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[list[LogProb]] | None = None
    raw: dict[str, Any] | None = None
    usage: dict[str, int] = field(default_factory=dict)

    def as_chat(self) -> ChatResponse:
        """Converts to a chat response."""
        blocks: list[Any] = [TextBlock(text=self.text)] if self.text or not self.tool_calls else []
        if self.reasoning and _ThinkingBlock is not None:
            blocks.insert(0, _ThinkingBlock(content=self.reasoning))
        message = ChatMessage(
            role=MessageRole.ASSISTANT,
            blocks=blocks,
            additional_kwargs={"tool_calls": self.tool_calls} if self.tool_calls else {},
        )
        return ChatResponse(
            message=message,
            delta=self.delta,
            raw=self.raw,
            logprobs=self.logprobs,
            additional_kwargs=self.usage,
        )

    def as_completion(self) -> CompletionResponse:
        """Converts to a completion."""
        return CompletionResponse(
            text=self.text,
            delta=self.delta,
            raw=self.raw,
            logprobs=self.logprobs,
            additional_kwargs=self.usage,
        )


class Pieces:
    """Adds the deltas of one answer up.

    Args:
        model: Name of the model for metadata.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._text = ""
        self._reasoning = ""
        self._calls = ToolCalls()
        self._logprobs: list[list[LogProb]] = []

    def after(
        self, delta: AnswerDelta, output: StreamOutput, raw: Mapping[str, Any] | None
    ) -> Piece:
        """Returns the answer after one more delta.

        Args:
            delta: What the output says.
            output: The output itself.
            raw: The session's counters if this is the last output.
        """
        self._text += delta.text
        self._reasoning += delta.reasoning
        self._calls.add(delta.tool_calls)
        self._logprobs += log_probs(output)
        usage = {} if raw is None else _usage(raw)
        return Piece(
            text=self._text,
            delta=delta.text,
            reasoning=self._reasoning,
            tool_calls=self._calls.snapshot(),
            logprobs=list(self._logprobs) or None,
            raw=None if raw is None else self._raw(output, usage, raw),
            usage=usage,
        )

    def _raw(
        self, output: StreamOutput, usage: dict[str, int], stats: Mapping[str, Any]
    ) -> dict[str, Any]:
        ended = output.finish_reason
        return {
            "model": self._model,
            "finish_reason": "tool_calls" if self._calls and ended == "stop" else ended,
            "stop_reason": output.stop_reason,
            "usage": usage,
            "stream2llm": dict(stats),
        }


def _usage(stats: Mapping[str, Any]) -> dict[str, int]:
    prompt, completion = stats["prompt_tokens"], stats["output_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
