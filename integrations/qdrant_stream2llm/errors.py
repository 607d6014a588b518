"""What can go wrong between a source and Qdrant.

```text
ContextSourceError                    (stream2llm_rag)
└── QdrantSourceError
    ├── CollectionNotFoundError       no collection of that name
    ├── VectorMismatchError           wrong vector name or dimension
    ├── AccessDeniedError             the server refuses the credentials
    ├── ServerUnavailableError        the server cannot be reached, or refuses for now
    ├── SearchTimeoutError            no answer in time; a ContextTimeoutError as well
    ├── IndexNotFoundError            the directory holds no embedded index
    └── IndexInUseError               another process has the embedded index open
```
"""

from stream2llm_rag import ContextSourceError, ContextTimeoutError

__all__ = [
    "AccessDeniedError",
    "CollectionNotFoundError",
    "IndexInUseError",
    "IndexNotFoundError",
    "QdrantSourceError",
    "SearchTimeoutError",
    "ServerUnavailableError",
    "VectorMismatchError",
]


class QdrantSourceError(ContextSourceError):
    """Base of what a source says about Qdrant; the original error is the ``__cause__``."""


class CollectionNotFoundError(QdrantSourceError):
    """There is no collection of that name."""


class VectorMismatchError(QdrantSourceError):
    """The collection has no vector of that name, or one of another dimension or kind."""


class AccessDeniedError(QdrantSourceError):
    """The server refuses the credentials."""


class ServerUnavailableError(QdrantSourceError):
    """The server cannot be reached, or refuses for now."""


class SearchTimeoutError(QdrantSourceError, ContextTimeoutError):
    """The search was not answered in time."""


class IndexNotFoundError(QdrantSourceError):
    """The directory holds no embedded index."""


class IndexInUseError(QdrantSourceError):
    """Another process, or another source, has the embedded index open."""
