"""How an answer's format tells the engine's own reasoning parser what it was told itself."""

__all__ = ["REASONING_PARSER_KWARGS"]

REASONING_PARSER_KWARGS = "stream2llm_reasoning_parser_kwargs"
"""Entry of ``SamplingParams.extra_args``; the backend moves it to where vLLM's core looks."""
