"""``stream2llm demo``: blocking and streaming side by side."""

from stream2llm_rag.cli._demo._command import demo

__all__ = ["demo"]
