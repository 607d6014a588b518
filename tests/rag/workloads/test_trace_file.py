import json
from pathlib import Path
from typing import Any

import pytest

from stream2llm_engine.simulator import SimulatedQuery
from stream2llm_rag import ContextSourceError
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.workloads import load_trace_file
from tests.rag.workloads.measures import prompts


def event(kind: str, *documents: tuple[str, int], delay_s: float = 0.1) -> dict[str, Any]:
    listed = [{"id": name, "tokens": tokens} for name, tokens in documents]
    return {"delay_s": delay_s, "kind": kind, "documents": listed}


def query(*events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"arrival_s": 0.0, "prefix_tokens": 2, "events": list(events), **fields}


def load(
    tmp_path: Path, *queries: dict[str, Any], order: DocumentOrder = "stable"
) -> list[SimulatedQuery]:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n\n".join(map(json.dumps, queries)), encoding="utf-8")
    return load_trace_file(path, order=order)


def test_every_field(tmp_path: Path) -> None:
    (loaded,) = load(
        tmp_path,
        {
            "arrival_s": 1.5,
            "tenant": "a",
            "prefix_tokens": 60,
            "question_tokens": 30,
            "output_tokens": 7,
            "events": [event("append", ("d1", 512), delay_s=2.5), event("update", ("d2", 3))],
        },
    )
    assert loaded.query_id == "line-1"
    assert loaded.arrival_s == 1.5
    assert loaded.tenant == "a"
    assert loaded.output_tokens == 7
    assert len(loaded.question) == 30
    assert [item.delay_s for item in loaded.events] == [2.5, 0.1]
    assert [len(prompt) for prompt in prompts(loaded)] == [572, 63]
    assert loaded.final_s == pytest.approx(4.1)


def test_defaults_and_order_of_arrival(tmp_path: Path) -> None:
    late = {"arrival_s": 2.0, "events": [event("append")]}
    early = {"arrival_s": 1.0, "events": [event("append")]}
    loaded = load(tmp_path, late, early)
    assert [item.query_id for item in loaded] == ["line-3", "line-1"]
    assert loaded[0].tenant == "default"
    assert len(loaded[0].final_prompt()) == 90


def test_documents_keep_their_tokens_across_queries(tmp_path: Path) -> None:
    one = query(event("append", ("a", 3), ("b", 4)), question_tokens=0)
    two = query(event("append", ("b", 4), ("c", 5)), question_tokens=0)
    first, second = (item.final_prompt() for item in load(tmp_path, one, two))
    assert first[5:9] == second[2:6]
    assert len(set(first + second)) == 2 + 3 + 4 + 5


def test_stable_and_rank_order(tmp_path: Path) -> None:
    events = (
        event("append", ("a", 1), ("b", 1), ("c", 1)),
        event("update", ("d", 1), ("c", 1), ("a", 1)),
        event("append", ("a", 1), ("e", 1)),
    )
    (stable,) = load(tmp_path, query(*events))
    a, b, c = prompts(stable)[0][2:]
    *kept, d = prompts(stable)[1][2:]
    assert kept == [a, c]
    assert prompts(stable)[2][2:5] == [a, c, d]
    assert [item.replace for item in stable.events] == [False, True, False]
    assert len(stable.events[2].token_ids) == 1
    (rank,) = load(tmp_path, query(*events), order="rank")
    assert prompts(rank)[1][2:] == [d, c, a]
    assert b not in prompts(rank)[1]
    assert len(prompts(rank)[2]) == 2 + 4


def test_an_event_that_changes_nothing_still_takes_its_time(tmp_path: Path) -> None:
    documents = (("a", 2), ("b", 3))
    (loaded,) = load(
        tmp_path, query(event("append", *documents), event("update", *documents, delay_s=5))
    )
    assert loaded.events[1].token_ids == []
    assert not loaded.events[1].replace
    assert loaded.final_s == pytest.approx(5.1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (query(), "line 3: events: "),
        (query(event("append", ("a", 0))), r"line 3: events\.0\.documents\.0\.tokens: "),
        (query(event("insert", ("a", 1))), r"line 3: events\.0\.kind: "),
        (query(event("append"), event("append", delay_s=-1)), r"line 3: events\.1\.delay_s: "),
        (query(event("append"), colour="red"), "line 3: colour: "),
        (query(event("append"), arrival_s=float("nan")), "line 3: arrival_s: "),
        (query(event("append"), prefix_tokens=0), "line 3: prefix_tokens: "),
        (
            query(event("append"), event("append", ("b", 1), ("a", 7))),
            r"line 3: events\.1\.documents\.1\.tokens: document 'a' has 7 tokens here and 2 before",
        ),
    ],
)
def test_bad_lines(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    good = query(event("append", ("a", 2)))
    with pytest.raises(ContextSourceError, match=message) as caught:
        load(tmp_path, good, bad)
    assert str(tmp_path / "trace.jsonl") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n", "holds no query"),
        (b"{", "line 1: query: Invalid JSON"),
        (b"[]", "line 1: query: "),
        (b"\xff", "not a readable trace file"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(content)
    with pytest.raises(ContextSourceError, match=message):
        load_trace_file(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ContextSourceError, match="not a readable trace file"):
        load_trace_file(str(tmp_path / "missing.jsonl"))
