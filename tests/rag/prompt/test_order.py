import pytest
from hypothesis import given

from stream2llm_rag import Append, ContextEvent, Document, Update
from stream2llm_rag.prompt import DocumentOrder, ordered_after
from stream2llm_rag.prompt._order import prompt_order
from tests.rag.builders import append, documents, event_sequences, update


def run(order: DocumentOrder, *events: Append | Update) -> tuple[Document, ...]:
    current: tuple[Document, ...] = ()
    for event in events:
        current = ordered_after(current, event, order)
    return current


def test_stable_keeps_survivors_in_place_and_puts_newcomers_behind() -> None:
    after = run("stable", append("a", "b", "c"), update("d", "c", "a"))
    assert after == documents("a", "c", "d")


def test_stable_takes_a_new_version_in_place() -> None:
    newer = Document(id="a", text="newer")
    after = run("stable", append("a", "b"), Update(documents=(*documents("b"), newer)))
    assert after == (newer, *documents("b"))


def test_rank_follows_the_retriever() -> None:
    after = run("rank", append("a", "b", "c"), update("d", "c", "a"), append("e"))
    assert after == documents("d", "c", "a", "e")


@pytest.mark.parametrize("order", ["stable", "rank"])
@given(events=event_sequences)
def test_the_rule_needs_only_ids(order: DocumentOrder, events: list[ContextEvent]) -> None:
    whole: tuple[Document, ...] = ()
    ids: list[str] = []
    for event in events:
        arrived = [document.id for document in event.documents]
        ids = prompt_order(ids, arrived if isinstance(event, Update) else [*ids, *arrived], order)
        whole = ordered_after(whole, event, order)
    assert ids == [document.id for document in whole]


@pytest.mark.parametrize("order", ["stable", "rank"])
@given(events=event_sequences)
def test_both_orders_hold_the_same_documents(
    order: DocumentOrder, events: list[ContextEvent]
) -> None:
    ours = {document.id: document for document in run(order, *events)}
    expected: dict[str, Document] = {}
    for event in events:
        known = expected if isinstance(event, Append) else {}
        expected = dict(known)
        for document in event.documents:
            expected.setdefault(document.id, document)
    assert ours == expected
