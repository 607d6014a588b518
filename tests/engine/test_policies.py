from __future__ import annotations

import pytest

from stream2llm_engine.policies import FirstComeFirstServed, RequestView, resolve_policy


def view(request_id: str, arrival_s: float, *, finalized: bool, decoding: bool) -> RequestView:
    return RequestView(
        request_id=request_id,
        arrival_s=arrival_s,
        last_event_s=arrival_s,
        finalized=finalized,
        decoding=decoding,
        remaining_tokens=1,
        computed_tokens=0,
    )


def test_fcfs_answers_first_then_final_prompts_then_open_ones() -> None:
    requests = [
        view("open-early", 1, finalized=False, decoding=False),
        view("open-late", 5, finalized=False, decoding=False),
        view("final-late", 4, finalized=True, decoding=False),
        view("final-early", 2, finalized=True, decoding=False),
        view("answering", 3, finalized=True, decoding=True),
    ]
    ranked = sorted(requests, key=FirstComeFirstServed().key)
    assert [r.request_id for r in ranked] == [
        "answering",
        "final-early",
        "final-late",
        "open-early",
        "open-late",
    ]


def test_an_unknown_policy_names_the_known_ones() -> None:
    assert resolve_policy("fcfs").name == "fcfs"
    with pytest.raises(ValueError, match="fcfs"):
        resolve_policy("best")
