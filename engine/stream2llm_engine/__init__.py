"""Streaming sessions on an unmodified vLLM engine."""
