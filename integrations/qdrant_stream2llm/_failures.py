"""Telling the failures of Qdrant's clients and engines apart."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias

import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from qdrant_stream2llm.errors import (
    AccessDeniedError,
    CollectionNotFoundError,
    QdrantSourceError,
    SearchTimeoutError,
    ServerUnavailableError,
    VectorMismatchError,
)
from stream2llm_rag.sources import typed_errors

__all__ = ["kind_of", "search_errors"]

Kind: TypeAlias = Literal["missing", "vector", "denied", "unavailable", "timeout", "other"]


class _GrpcStatus(NamedTuple):
    code: str
    details: str


class _Advice(NamedTuple):
    error: type[QdrantSourceError]
    what: str


_ADVICE: dict[Kind, _Advice] = {
    "missing": _Advice(
        CollectionNotFoundError,
        "there is no such collection; create it, or name one that client.get_collections() lists",
    ),
    "vector": _Advice(
        VectorMismatchError,
        "the query does not suit the collection's vectors; pass the name of one of them as using=,"
        " and the embedding that it was filled with",
    ),
    "denied": _Advice(
        AccessDeniedError,
        "the server refuses the credentials; give the client an api_key that may read it",
    ),
    "unavailable": _Advice(
        ServerUnavailableError,
        "the server cannot be reached or refuses for now; check the client's url and port and that"
        " Qdrant runs there, or try longer with retry=Retry(attempts=...)",
    ),
    "timeout": _Advice(
        SearchTimeoutError,
        "no answer in time; raise timeout_s or the client's timeout, or search less with a smaller"
        " limit or hnsw_ef",
    ),
}
_BY_STATUS: dict[int | None, Kind] = {
    401: "denied",
    403: "denied",
    404: "missing",
    408: "timeout",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "timeout",
}
_BY_CODE: dict[str, Kind] = {
    "UNAUTHENTICATED": "denied",
    "PERMISSION_DENIED": "denied",
    "NOT_FOUND": "missing",
    "DEADLINE_EXCEEDED": "timeout",
    "RESOURCE_EXHAUSTED": "unavailable",
    "UNAVAILABLE": "unavailable",
}
# What servers, the embedded engine and the in-process client write; none of them has codes for it.
_VECTOR = re.compile(
    r"vector dimension error|vector name|wrong usage of (sparse|multi) vectors|not aligned"
    r"|vector .* not found",
    re.IGNORECASE,
)
_MISSING = re.compile(r"^Collection .* not found", re.IGNORECASE)


@contextmanager
def search_errors(what: str) -> Iterator[None]:
    """Turns failures of a search into errors that say what to do; the original is the cause."""
    with typed_errors(what):
        try:
            yield
        except Exception as error:
            reason = _reason(error)
            if (advice := _ADVICE.get(kind_of(error))) is not None:
                msg = f"{what}: {advice.what} ({reason})"
                raise advice.error(msg) from error
            if reason != str(error):
                msg = f"{what} failed: {reason}"
                raise QdrantSourceError(msg) from error
            raise


def kind_of(error: BaseException) -> Kind:
    """Says what kind of failure an error of a client or of an engine is."""
    match error:
        case UnexpectedResponse():
            return _BY_STATUS.get(error.status_code) or _kind_of_text(_reason(error))
        case ResourceExhaustedResponse():
            return "unavailable"
        case ResponseHandlingException():
            return _kind_of_transport(error.source)
        case _ if (status := _grpc_status(error)) is not None:
            return _BY_CODE.get(status.code) or _kind_of_text(status.details)
        case _:
            return _kind_of_text(str(error))


def _kind_of_transport(source: Exception) -> Kind:
    # A connection that is not made in time is a server that is not there.
    if isinstance(source, httpx.TimeoutException) and not isinstance(source, httpx.ConnectTimeout):
        return "timeout"
    return "unavailable" if isinstance(source, httpx.TransportError) else "other"


def _kind_of_text(text: str) -> Kind:
    if _MISSING.search(text):
        return "missing"
    return "vector" if _VECTOR.search(text) else "other"


def _reason(error: BaseException) -> str:
    match error:
        case UnexpectedResponse():
            return f"{error.status_code} {_server_words(error.content)}"
        case ResponseHandlingException():
            return f"{type(error.source).__name__}: {error.source}"
        case _ if (status := _grpc_status(error)) is not None:
            return f"{status.code}: {status.details}"
        case _:
            return str(error)


def _server_words(content: bytes) -> str:
    try:
        return str(json.loads(content)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace")


def _grpc_status(error: Any) -> _GrpcStatus | None:
    # A raised RpcError is a call as well, which only its methods tell.
    if not (callable(getattr(error, "code", None)) and callable(getattr(error, "details", None))):
        return None
    return _GrpcStatus(error.code().name, error.details() or "")
