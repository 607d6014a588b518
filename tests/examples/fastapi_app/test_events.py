"""The app over HTTP: events in order, typed errors, and nothing left of a client that is gone."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.examples.fastapi_app.served import ANSWER, QUESTION, Broken, answering_from

if TYPE_CHECKING:
    from tests.examples.fastapi_app.served import Gated, Served

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


async def test_documents_come_one_by_one_and_then_the_answer(served: Served) -> None:
    async with served.asked() as events:
        happened = [event async for event in events]
    names = [name for name, _ in happened]
    assert names.count("documents") == 4
    arrived = [len(data["documents"]) for name, data in happened if name == "documents"]
    assert arrived == [1, 2, 3, 4]
    behind = names.index("final")
    assert {*names[:behind]} == {"documents", "prefilled"}
    later = [name for name, _ in groupby(name for name in names[behind:] if name != "prefilled")]
    assert later == ["final", "token", "finished"]
    text = "".join(data["text"] for name, data in happened if name == "token")
    assert text.strip() == ANSWER
    (_, figures) = happened[-1]
    assert figures["prompt_tokens"] > figures["prefilled_before_final"] > 0


async def test_prefill_is_reported_while_retrieval_goes_on(served: Served, gated: Gated) -> None:
    async with served.asked() as events:
        name, found = await anext(events)
        assert name == "documents"
        assert [page["id"] for page in found["documents"]] == ["Quen"]
        assert await anext(events) == ("prefilled", {"tokens": found["tokens"] - 1})
        gated.go_on.set()
        happened = dict([event async for event in events])
    # Whole blocks are in place, or more.
    assert happened["finished"]["prefilled_before_final"] >= found["tokens"] - 1
    assert gated.ended.is_set()


async def test_a_client_that_goes_away_ends_session_and_retrieval(
    served: Served, gated: Gated
) -> None:
    async with served.asked() as events:
        await anext(events)
        assert await served.open_sessions() == 1
    async with asyncio.timeout(30):
        while await served.open_sessions():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
    assert gated.ended.is_set()


async def test_a_source_that_fails_is_a_typed_event(served: Served) -> None:
    with answering_from(Broken()):
        async with served.asked() as events:
            happened = [event async for event in events]
    name, data = happened[-1]
    assert name == "failed"
    assert data["type"] == "ContextSourceError"
    assert f"OSError: no more about {QUESTION!r}" in data["message"]
    assert await served.open_sessions() == 0


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ({}, "missing"),
        ({"question": 7}, "string_type"),
        ({"question": "Who are you?"}, "question_of_another_kind"),
        ({"question": QUESTION.replace("Zorland", "Z" * 300)}, "string_too_long"),
    ],
)
async def test_bad_input_is_refused_with_a_type(served: Served, sent: object, kind: str) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        response = await client.post("/answers", json=sent)
    assert response.status_code == 422
    (problem,) = response.json()["detail"]
    assert problem["type"] == kind
    assert problem["loc"] == ["body", "question"]
