"""Engine outputs as LangChain message chunks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGenerationChunk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_engine import SessionStats, StreamOutput

__all__ = ["last_chunk", "text_chunk"]


def text_chunk(output: StreamOutput) -> ChatGenerationChunk:
    """Converts an output that is not the last one."""
    return ChatGenerationChunk(message=AIMessageChunk(content=output.text))


def last_chunk(
    output: StreamOutput, stats: SessionStats, *, model: str, details: Mapping[str, Any]
) -> ChatGenerationChunk:
    """Converts the last output; only it carries metadata, because LangChain adds chunks up.

    Args:
        output: The last output.
        stats: The session's final counters.
        model: Name of the model.
        details: More entries for ``response_metadata["stream2llm"]``.
    """
    metadata = {
        "model_name": model,
        "finish_reason": output.finish_reason,
        "stream2llm": {**asdict(stats), **details},
    }
    message = AIMessageChunk(
        content=output.text,
        response_metadata=metadata,
        usage_metadata=_usage(stats),
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message)


def _usage(stats: SessionStats) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=stats.prompt_tokens,
        output_tokens=stats.output_tokens,
        total_tokens=stats.prompt_tokens + stats.output_tokens,
        # An update takes its own session's tokens from the cache as well.
        input_token_details=InputTokenDetails(
            cache_read=min(stats.reused_tokens, stats.prompt_tokens)
        ),
    )
