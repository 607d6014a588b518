"""Answers of the engine as LangChain message chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_stream2llm._logprobs import logprobs_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_engine import SessionStats, StreamOutput
    from stream2llm_engine.answers import AnswerDelta

__all__ = ["finished_chunk", "output_chunk", "usage_metadata"]


def output_chunk(
    output: StreamOutput, delta: AnswerDelta, *, top_logprobs: int | None
) -> ChatGenerationChunk:
    """Converts an output of the engine.

    Args:
        output: The output.
        delta: What it says.
        top_logprobs: How many log-probabilities to report for each token besides the token's own;
            None reports none at all.
    """
    metadata = {}
    if top_logprobs is not None and output.token_ids:
        metadata["logprobs"] = logprobs_metadata(output, top=top_logprobs)
    message = AIMessageChunk(
        content=delta.text,
        additional_kwargs={"reasoning_content": delta.reasoning} if delta.reasoning else {},
        tool_call_chunks=[
            tool_call_chunk(name=call.name, args=call.arguments, id=call.id, index=call.index)
            for call in delta.tool_calls
        ],
        response_metadata=metadata,
    )
    return ChatGenerationChunk(message=message)


def finished_chunk(
    chunk: ChatGenerationChunk,
    *,
    finish_reason: str | None,
    model: str,
    report: Mapping[str, Any],
    usage: UsageMetadata | None,
) -> ChatGenerationChunk:
    """Returns ``chunk`` as the last one of an answer.

    Only the last one carries names and numbers, because LangChain adds chunks up.

    Args:
        chunk: The chunk.
        finish_reason: Why the answer ended.
        model: Name of the model.
        report: What goes into ``response_metadata["stream2llm"]``.
        usage: Tokens of the request, or None if another answer to it reports them.
    """
    message = chunk.message.model_copy(
        update={
            "response_metadata": {
                **chunk.message.response_metadata,
                "model_name": model,
                "finish_reason": finish_reason,
                "stream2llm": dict(report),
            },
            "usage_metadata": usage,
            "chunk_position": "last",
        }
    )
    return ChatGenerationChunk(message=message)


def usage_metadata(stats: SessionStats, reasoning_tokens: int | None) -> UsageMetadata:
    """Converts a session's counters.

    Args:
        stats: The counters.
        reasoning_tokens: How many of the output tokens are reasoning, if that is known.
    """
    usage = UsageMetadata(
        input_tokens=stats.prompt_tokens,
        output_tokens=stats.output_tokens,
        total_tokens=stats.prompt_tokens + stats.output_tokens,
        # An update takes its own session's tokens from the cache as well.
        input_token_details=InputTokenDetails(
            cache_read=min(stats.reused_tokens, stats.prompt_tokens)
        ),
    )
    if reasoning_tokens is not None:
        usage["output_token_details"] = OutputTokenDetails(reasoning=reasoning_tokens)
    return usage
