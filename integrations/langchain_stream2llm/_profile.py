"""What LangChain may know of a model before it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.language_models import ModelProfile

from stream2llm_engine.errors import EngineDeadError

if TYPE_CHECKING:
    from stream2llm_engine import EngineConfig, StreamEngine

__all__ = ["model_profile"]


def model_profile(
    config: EngineConfig,
    engine: StreamEngine | None,
    *,
    tool_call_parser: str | None,
    reasoning_parser: str | None,
) -> ModelProfile:
    """Describes the model.

    Args:
        config: How its engine is or will be started.
        engine: The engine, if there is one; it is not started for this.
        tool_call_parser: Whether there is one decides whether the model may call tools by itself.
        reasoning_parser: Whether there is one decides whether there are reasoning blocks.
    """
    profile = ModelProfile(
        text_inputs=True,
        image_inputs=False,
        image_url_inputs=False,
        pdf_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        image_tool_message=False,
        pdf_tool_message=False,
        text_outputs=True,
        image_outputs=False,
        audio_outputs=False,
        video_outputs=False,
        reasoning_output=reasoning_parser is not None,
        tool_calling=tool_call_parser is not None,
        tool_choice=True,
        structured_output=True,
        temperature=True,
    )
    limit = _max_input_tokens(config, engine)
    if limit is not None:
        profile["max_input_tokens"] = limit
    return profile


def _max_input_tokens(config: EngineConfig, engine: StreamEngine | None) -> int | None:
    if engine is not None:
        try:
            return engine.max_prompt_tokens
        except EngineDeadError:
            pass
    # One token of the model's length is the answer's.
    length = config.vllm.get("max_model_len")
    return length - 1 if isinstance(length, int) and length > 0 else None
