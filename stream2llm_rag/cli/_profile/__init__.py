"""``stream2llm profile``."""

from stream2llm_rag.cli._profile._command import profile

__all__ = ["profile"]
