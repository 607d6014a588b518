"""Errors of the RAG core.

```text
Stream2LLMError                      (stream2llm_engine)
└── RagError
    ├── PromptTemplateError          a prompt or chat template cannot hold the context
    ├── ContextClosedError           an event was put into a context that is already final
    └── ContextSourceError           a retriever failed
        └── ContextTimeoutError      a retriever did not finish in time
```
"""

from stream2llm_engine.errors import Stream2LLMError

__all__ = [
    "ContextClosedError",
    "ContextSourceError",
    "ContextTimeoutError",
    "PromptTemplateError",
    "RagError",
]


class RagError(Stream2LLMError):
    """Base of every error that the RAG core raises."""


class PromptTemplateError(RagError, ValueError):
    """A prompt or chat template cannot hold the streamed context."""


class ContextClosedError(RagError):
    """An event was put into a live context that is already final."""


class ContextSourceError(RagError):
    """A context source failed; the original error is the ``__cause__``."""


class ContextTimeoutError(ContextSourceError, TimeoutError):
    """A context source, or a wait for one, did not finish within its time limit."""
