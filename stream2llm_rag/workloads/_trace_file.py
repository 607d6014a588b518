"""A recorded workload: JSON Lines, one query a line.

```json
{"arrival_s": 0.0, "tenant": "a", "prefix_tokens": 60, "question_tokens": 30, "output_tokens": 1,
 "events": [
   {"delay_s": 2.5, "kind": "append", "documents": [{"id": "d1", "tokens": 512}]},
   {"delay_s": 0.1, "kind": "update", "documents": [{"id": "d2", "tokens": 300},
                                                    {"id": "d1", "tokens": 512}]}]}
```

A query stands on one line of the file; it is broken here to be read. ``arrival_s`` counts from the
start of the trace, ``delay_s`` from the event before or from the arrival. ``append`` puts documents
behind those already there, ``update`` is the full new ranked list. The last event makes the context
final, and the question follows. Documents with one id have the same tokens, in every query of the
file. Only ``arrival_s``, ``events`` and what an event consists of are required. Lines need not be
in order of arrival, and empty lines are skipped.
"""

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream2llm_engine.simulator import SimulatedQuery
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.prompt._order import prompt_order
from stream2llm_rag.workloads._tokens import (
    TokenSpace,
    prompt_events,
    question_ids,
    template_ids,
)

__all__ = ["load_trace_file"]

_Tokens: TypeAlias = dict[str, list[int]]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Document(_Strict):
    id: str
    tokens: int = Field(ge=1)


class _Event(_Strict):
    delay_s: float = Field(ge=0)
    kind: Literal["append", "update"]
    documents: tuple[_Document, ...]


class _Query(_Strict):
    arrival_s: float = Field(ge=0)
    tenant: str = "default"
    # No prompt is empty, not even that of a query without documents.
    prefix_tokens: int = Field(default=60, ge=1)
    question_tokens: int = Field(default=30, ge=0)
    output_tokens: int = Field(default=1, ge=1)
    events: tuple[_Event, ...] = Field(min_length=1)


def load_trace_file(path: Path | str, *, order: DocumentOrder = "stable") -> list[SimulatedQuery]:
    """Reads the queries of a trace file, in order of arrival.

    Args:
        path: JSON Lines file as this module describes it.
        order: Where documents stand in the prompt: ``"stable"`` or ``"rank"``.

    Raises:
        ContextSourceError: The file cannot be read, or is not a trace; the message names the line
            and the field.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} is not a readable trace file: {error}"
        raise ContextSourceError(msg) from error
    space = TokenSpace()
    tokens: _Tokens = {}
    queries: list[SimulatedQuery] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}, line {number}"
            query = _parsed(line, where)
            _add_documents(tokens, space, query, where)
            queries.append(_simulated(query, tokens, order, f"line-{number}"))
    if not queries:
        msg = f"{path} holds no query; write one JSON object a line"
        raise ContextSourceError(msg)
    return sorted(queries, key=lambda query: query.arrival_s)


def _parsed(line: str, where: str) -> _Query:
    try:
        return _Query.model_validate_json(line)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'query'}: {item['msg']}"
            for item in error.errors()
        )
        msg = f"{where}: {problems}"
        raise ContextSourceError(msg) from error


def _add_documents(tokens: _Tokens, space: TokenSpace, query: _Query, where: str) -> None:
    for step, event in enumerate(query.events):
        for place, document in enumerate(event.documents):
            if document.id not in tokens:
                tokens[document.id] = space.document(document.tokens)
            elif len(tokens[document.id]) != document.tokens:
                msg = (
                    f"{where}: events.{step}.documents.{place}.tokens: document {document.id!r} has"
                    f" {document.tokens} tokens here and {len(tokens[document.id])} before;"
                    " give another version another id"
                )
                raise ContextSourceError(msg)


def _simulated(
    query: _Query, tokens: _Tokens, order: DocumentOrder, query_id: str
) -> SimulatedQuery:
    orders: list[list[str]] = []
    for event in query.events:
        before = orders[-1] if orders else []
        ids = [document.id for document in event.documents]
        ranked = ids if event.kind == "update" else [*before, *ids]
        orders.append(prompt_order(before, ranked, order))
    delays_s = [event.delay_s for event in query.events]
    return SimulatedQuery(
        query_id=query_id,
        arrival_s=query.arrival_s,
        events=prompt_events(delays_s, orders, tokens, template_ids(query.prefix_tokens)),
        question=question_ids(query.question_tokens),
        output_tokens=query.output_tokens,
        tenant=query.tenant,
    )
