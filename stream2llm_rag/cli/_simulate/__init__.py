"""``stream2llm simulate``: policies on a simulated engine, and how many tenants one can serve."""

from stream2llm_rag.cli._simulate._command import simulate

__all__ = ["simulate"]
